"""Refuses unsafe or incompatible checkpoints before anything of them is published.

Pure functions over a manifest's bytes, without a session or a store. They say what the weights must hold; whether a
file holds that is `weights_gate`'s to say, in a process of its own.
"""

import math

from madx.config import BackboneConfig
from madx.errors import InvalidConfig, InvalidManifest
from madx.manifest import Manifest, from_bytes
from madx.shapes import Shape, adapter_shapes

from .errors import InvalidName
from .references import check_name, parse_reference
from .strict_json import parse_strictly
from .weights_header import ITEM_BYTES, MAX_HEADER_BYTES, PREFIX_BYTES

MAX_MANIFEST_BYTES = 1 << 20


def check_manifest(content: bytes) -> Manifest:
    """Read and bound a manifest. Raises `InvalidManifest`."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"the manifest has {len(content)} bytes, {MAX_MANIFEST_BYTES} are allowed")
    try:
        parse_strictly(content)
    except ValueError as error:
        raise InvalidManifest(f"the manifest is no strict JSON: {error}") from error
    manifest = from_bytes(content)
    if manifest.weights.size_bytes < 0:
        raise InvalidManifest("weights.size_bytes must not be negative")
    if manifest.task is not None:
        try:
            check_name(manifest.task)
        except InvalidName as error:
            raise InvalidManifest(f"task: {error}") from error
    if manifest.composition is not None and manifest.composition.language not in ("swapped", "none"):
        try:
            parse_reference(manifest.composition.language)
        except InvalidName as error:
            raise InvalidManifest(f"composition.language: {error}") from error
    return manifest


def expected_shapes(manifest: Manifest, backbone: BackboneConfig) -> dict[str, Shape]:
    """What the weights must hold. Raises `InvalidManifest` where configuration or composition fit no such backbone."""
    composition = manifest.composition
    if composition is not None and any(layer >= backbone.num_layers for layer in composition.leave_out):
        raise InvalidManifest(
            f"composition.leave_out: the backbone's layers are 0 to {backbone.num_layers - 1}, "
            f"not {max(composition.leave_out)}"
        )
    try:
        return adapter_shapes(manifest.config, manifest.head, backbone)
    except InvalidConfig as error:
        raise InvalidManifest(f"config: {error}") from error


def largest_file_bytes(manifest: Manifest, backbone: BackboneConfig) -> int:
    """No acceptable weights file of this manifest is longer."""
    elements = sum(math.prod(shape) for shape in expected_shapes(manifest, backbone).values())
    return PREFIX_BYTES + MAX_HEADER_BYTES + elements * max(ITEM_BYTES.values())
