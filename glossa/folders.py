"""Adapter folders, `manifest.json` and `adapter.safetensors`: written and read here and nowhere else.

What is read goes to `registry.publish`, whose gate decides whether it is any good. Torch-free.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from madx.errors import GlossaError
from madx.manifest import WeightsRef
from registry.durable import write_file
from registry.errors import BlobCorrupt

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "adapter.safetensors"
_PART = ".part"
_CHUNK_BYTES = 1 << 20

PiecesFrom = Callable[[int], Iterable[bytes]]
"""The weights from a byte on, piece by piece."""


class NotAnAdapterFolder(GlossaError):
    """A folder that lacks one of an adapter's two files, or cannot be written."""

    code = "not_an_adapter_folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFolder:
    """What a folder holds. `weights` is a path, because the registry streams it."""

    manifest: bytes
    weights: Path


def read_folder(folder: Path) -> AdapterFolder:
    """Raises `NotAnAdapterFolder`."""
    weights = folder / WEIGHTS_FILE
    try:
        manifest = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise NotAnAdapterFolder(
            f"{folder} is no adapter folder: {MANIFEST_FILE} cannot be read ({error.strerror}); "
            "give a folder that `glossa adapters pull` wrote"
        ) from error
    if not weights.is_file():
        raise NotAnAdapterFolder(f"{folder} is no adapter folder: it has no {WEIGHTS_FILE}")
    return AdapterFolder(manifest=manifest, weights=weights)


def fill_folder(folder: Path, manifest: bytes, weights: WeightsRef, pieces_from: PiecesFrom) -> None:
    """Weights first, manifest last, each in one rename, so that a folder with a new manifest is whole.

    What came of the weights before an interruption stays in a file beside them, and the next call goes on from there.
    Raises `NotAnAdapterFolder` where the folder holds something else, or cannot be written, `BlobCorrupt` where the
    weights are not those that `weights` names, and what `pieces_from` raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))
        if foreign:
            raise NotAnAdapterFolder(f"{folder} holds other files, {foreign[0]} among them; name a new folder")
        part = folder / f"{WEIGHTS_FILE}.{weights.digest[:16]}{_PART}"
        with part.open("a+b") as file:
            _receive(file, weights, pieces_from)
        part.replace(folder / WEIGHTS_FILE)
        write_file(folder / MANIFEST_FILE, manifest)
        for other in folder.glob(f"*{_PART}"):
            other.unlink(missing_ok=True)
    except OSError as error:
        raise NotAnAdapterFolder(f"cannot write {folder}: {error.strerror or error}") from error


def received_bytes(folder: Path, weights: WeightsRef) -> int:
    """How much of the weights an interrupted `fill_folder` left."""
    try:
        return (folder / f"{WEIGHTS_FILE}.{weights.digest[:16]}{_PART}").stat().st_size
    except OSError:
        return 0


def _is_ours(name: str) -> bool:
    return name in (MANIFEST_FILE, WEIGHTS_FILE) or (
        name.startswith((MANIFEST_FILE, WEIGHTS_FILE)) and name.endswith(_PART)
    )


def _receive(file: BinaryIO, weights: WeightsRef, pieces_from: PiecesFrom) -> None:
    """Fill up `file`, which may have a beginning, and sync it. One with other bytes is emptied."""
    hasher = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        hasher.update(chunk)
    position = file.tell()
    if position < weights.size_bytes:
        for chunk in pieces_from(position):
            file.write(chunk)
            hasher.update(chunk)
    if hasher.hexdigest() != weights.digest:
        file.truncate(0)
        raise BlobCorrupt(
            "the weights came with another sha256 than the manifest names; pull again, and if it stays so, "
            "`glossa fsck` looks where they are kept"
        )
    file.flush()
    os.fsync(file.fileno())
