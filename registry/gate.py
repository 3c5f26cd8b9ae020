"""Refuses unsafe or incompatible checkpoints before anything of them is published.

Pure functions over a manifest's bytes and a file's path, without a session or a store, so that they may run in a
process of their own. Bytes are only counted and compared: nothing in a file is executed.
"""

import hashlib
import math
from pathlib import Path
from typing import BinaryIO

from madx.config import BackboneConfig
from madx.errors import InvalidConfig, InvalidManifest
from madx.manifest import Manifest, from_bytes
from madx.shapes import Shape, adapter_shapes

from . import weights_gate
from .errors import InvalidName
from .references import check_name, parse_reference
from .refusals import DigestMismatch
from .strict_json import parse_strictly
from .weights_header import ITEM_BYTES, MAX_HEADER_BYTES, PREFIX_BYTES

MAX_MANIFEST_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20


def check_manifest(content: bytes) -> Manifest:
    """Read and bound a manifest. Raises `InvalidManifest`."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"the manifest has {len(content)} bytes, {MAX_MANIFEST_BYTES} are allowed")
    try:
        parse_strictly(content)
    except ValueError as error:
        raise InvalidManifest(f"the manifest is no strict JSON: {error}") from error
    manifest = from_bytes(content)
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


def check_weights(path: Path, manifest: Manifest, backbone: BackboneConfig) -> None:
    """Raises `InvalidWeights` (see `refusals`) unless the file is exactly what the manifest and the backbone say."""
    file_bytes = path.stat().st_size
    with path.open("rb") as stream:
        weights_gate.check_header(stream, expected_shapes(manifest, backbone), file_bytes=file_bytes)
        _check_digest(stream, file_bytes, manifest)
        stream.seek(0)
        weights_gate.check_weights(stream, expected_shapes(manifest, backbone), file_bytes=file_bytes)


def _check_digest(stream: BinaryIO, file_bytes: int, manifest: Manifest) -> None:
    if file_bytes != manifest.weights.size_bytes:
        raise DigestMismatch(f"the weights have {file_bytes} bytes, the manifest names {manifest.weights.size_bytes}")
    hasher = hashlib.sha256()
    stream.seek(0)
    while chunk := stream.read(_CHUNK_BYTES):
        hasher.update(chunk)
    digest = hasher.hexdigest()
    if digest != manifest.weights.digest:
        raise DigestMismatch(f"the weights have sha256 {digest}, the manifest names {manifest.weights.digest}")
