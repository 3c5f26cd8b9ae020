"""What an attack is: a manifest and weights that look as if they belonged together, and the code that refuses them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.numpy import save

from madx.config import BackboneConfig
from madx.manifest import Kind, Manifest, to_bytes
from registry import catalog
from registry.registry import Registry
from tests.support.made_adapters import add_made_backbone, made_manifest, made_tensors

LARGE_FINGERPRINT = "c3" * 32
LARGE = BackboneConfig(
    family="xlm-roberta",
    hidden_size=2560,
    num_layers=36,
    num_heads=40,
    intermediate_size=10_240,
    vocab_size=250_880,
    max_positions=514,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)
"""Its language adapters may have 0.9 GB, so that a long file is not refused for its length alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`make` gives the manifest's and the weights' bytes; some are long, so nothing is made before it is called.

    `streamed_code` refuses it where the header is judged as soon as it has arrived, against the size in the manifest.
    """

    name: str
    code: str
    streamed_code: str
    make: Callable[[], tuple[bytes, bytes]]


def add_attacked_backbones(registry: Registry) -> None:
    """What the corpus takes to be there: the backbone of `made_adapters`, and a large one."""
    add_made_backbone(registry)
    catalog.add_backbone(registry, fingerprint=LARGE_FINGERPRINT, name="large", config=LARGE, masked_lm=True)


def on_weights(name: str, code: str, weights: Callable[[], bytes], kind: Kind = "language") -> Attack:
    """The manifest names the digest and the size of what is sent, so that they do not refuse it."""

    def make() -> tuple[bytes, bytes]:
        content = weights()
        return to_bytes(made_manifest(content, kind)), content

    return Attack(name=name, code=code, streamed_code=code, make=make)


def on_large(name: str, code: str, weights: Callable[[], bytes]) -> Attack:
    """As `on_weights`, for the backbone whose adapters may be long."""

    def make() -> tuple[bytes, bytes]:
        content = weights()
        return to_bytes(made_manifest(content, fingerprint=LARGE_FINGERPRINT)), content

    return Attack(name=name, code=code, streamed_code=code, make=make)


def on_manifest(
    name: str, content: Callable[[], bytes], code: str = "invalid_manifest", streamed_code: str | None = None
) -> Attack:
    """The weights are those of a right manifest."""
    return Attack(name=name, code=code, streamed_code=streamed_code or code, make=lambda: (content(), right_weights()))


def right_weights(kind: Kind = "language") -> bytes:
    return save(made_tensors(kind))


def right_manifest(kind: Kind = "language") -> Manifest:
    return made_manifest(right_weights(kind), kind)


def changed(changes: Mapping[str, Any], kind: Kind = "language") -> bytes:
    """The JSON of a right manifest with some fields set, unchecked; "a.b" is field b of field a."""
    document = json.loads(to_bytes(right_manifest(kind)))
    for path, value in changes.items():
        *folders, last = path.split(".")
        place = document
        for folder in folders:
            place = place[folder]
        place[last] = value
    return json.dumps(document).encode()
