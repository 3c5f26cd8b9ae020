"""What the soak publishes: adapters of three sizes, each wholly decided by its seed."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from safetensors.numpy import save

from madx.config import BackboneConfig
from madx.manifest import to_bytes
from madx.shapes import adapter_shapes
from registry.catalog import add_backbone
from registry.registry import Registry
from tests.support.made_adapters import CONFIG, adapter_config, made_manifest

# Kilobytes; a megabyte; enough for an S3 store to send several parts.
WIDTHS = {"small": (8, 2), "middle": (256, 3), "large": (640, 4)}
SHARES = {"small": 0.9, "middle": 0.08, "large": 0.02}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A manifest and its weights, which `seed` and `size` make again whenever they are asked for."""

    size: str
    seed: int
    manifest: bytes
    weights_digest: str
    size_bytes: int

    def weights(self) -> bytes:
        return _made(self.size, self.seed)[1]


def content(size: str, seed: int) -> Content:
    manifest, weights = _made(size, seed)
    digest = hashlib.sha256(weights).hexdigest()
    return Content(size=size, seed=seed, manifest=manifest, weights_digest=digest, size_bytes=len(weights))


def add_backbones(registry: Registry) -> None:
    for size in WIDTHS:
        add_backbone(
            registry, fingerprint=_fingerprint(size), name=f"made-{size}", config=_config(size), masked_lm=True
        )


def _config(size: str) -> BackboneConfig:
    hidden, layers = WIDTHS[size]
    return replace(CONFIG, hidden_size=hidden, num_layers=layers)


def _fingerprint(size: str) -> str:
    return hashlib.sha256(size.encode()).hexdigest()


@lru_cache(maxsize=16)
def _made(size: str, seed: int) -> tuple[bytes, bytes]:
    random = np.random.default_rng(seed)
    shapes = adapter_shapes(adapter_config("language"), None, _config(size))
    weights = save({name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()})
    return to_bytes(made_manifest(weights, fingerprint=_fingerprint(size), seed=seed)), weights
