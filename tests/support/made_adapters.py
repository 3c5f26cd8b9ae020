"""Made-up adapters without torch: manifests and weights for a tiny made-up backbone, as the registry sees them."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from madx.config import AdapterConfig, BackboneConfig, Composition, HeadConfig, InvertibleConfig
from madx.manifest import BackboneRef, Kind, Manifest, WeightsRef, digest_of, to_bytes
from madx.shapes import adapter_shapes
from registry.catalog import add_backbone
from registry.publish import publish
from registry.registry import Registry
from registry.values import Version

FINGERPRINT = "a1" * 32
OTHER_FINGERPRINT = "b2" * 32
CONFIG = BackboneConfig(
    family="xlm-roberta",
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    intermediate_size=16,
    vocab_size=32,
    max_positions=34,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)
Tensors = dict[str, NDArray[Any]]


def add_made_backbone(registry: Registry, fingerprint: str = FINGERPRINT, name: str = "tiny") -> None:
    add_backbone(registry, fingerprint=fingerprint, name=name, config=CONFIG, masked_lm=True)


def adapter_config(kind: Kind) -> AdapterConfig:
    return AdapterConfig(reduction=2.0, invertible=InvertibleConfig() if kind == "language" else None)


def task_head() -> HeadConfig:
    return HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))


def made_tensors(kind: Kind = "language", seed: int = 0) -> Tensors:
    random = np.random.default_rng(seed)
    shapes = adapter_shapes(adapter_config(kind), task_head() if kind == "task" else None, CONFIG)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def made_manifest(
    weights: bytes, kind: Kind = "language", *, key: str = "sw", fingerprint: str = FINGERPRINT, seed: int = 0
) -> Manifest:
    """`key` is the language of a language adapter, the task of a task adapter."""
    return Manifest(
        kind=kind,
        config=adapter_config(kind),
        head=task_head() if kind == "task" else None,
        composition=Composition() if kind == "task" else None,
        language=key if kind == "language" else None,
        task=key if kind == "task" else None,
        backbone=BackboneRef(name="tiny", fingerprint=fingerprint),
        weights=WeightsRef(digest=digest_of(weights), size_bytes=len(weights)),
        method="made",
        hyper_parameters={"seed": seed},
    )


def made_adapter(
    kind: Kind = "language", *, key: str = "sw", fingerprint: str = FINGERPRINT, seed: int = 0
) -> tuple[bytes, bytes]:
    """The bytes of a manifest and of its weights; another `seed`, another version."""
    weights = save(made_tensors(kind, seed))
    return to_bytes(made_manifest(weights, kind, key=key, fingerprint=fingerprint, seed=seed)), weights


def publish_made(
    registry: Registry,
    name: str,
    kind: Kind = "language",
    *,
    key: str = "sw",
    fingerprint: str = FINGERPRINT,
    seed: int = 0,
) -> Version:
    manifest, weights = made_adapter(kind, key=key, fingerprint=fingerprint, seed=seed)
    return publish(registry, manifest, io.BytesIO(weights), name=name).version


def by_hand(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A safetensors file with whatever header a test wants, right or wrong."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + data


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
