"""Streams bytes into a temporary local file while hashing them: the first step of every store's write."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest

from ..errors import BlobTooLarge, StoreUnavailable
from .base import CHUNK_BYTES, Blob, Staged


def stage_file(stream: BinaryIO, folder: Path, *, limit_bytes: int | None = None) -> Staged:
    """Copy `stream` to a new, synced file in `folder`. Whatever fails, no file stays behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{secrets.token_hex(16)}.part"
        target = path.open("xb")
    except OSError as error:
        raise StoreUnavailable(f"cannot write below {folder}: {error.strerror}") from error
    try:
        with target:
            blob = _copy(stream, target, limit_bytes)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Staged(path=path, blob=blob)


def _copy(stream: BinaryIO, target: BinaryIO, limit_bytes: int | None) -> Blob:
    hasher = hashlib.sha256()
    size_bytes = 0
    while chunk := stream.read(CHUNK_BYTES):
        size_bytes += len(chunk)
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise BlobTooLarge(f"the content is longer than its limit of {limit_bytes} bytes")
        hasher.update(chunk)
        with _medium(target):
            target.write(chunk)
    with _medium(target):
        target.flush()
        os.fsync(target.fileno())
    return Blob(digest=Digest(hasher.hexdigest()), size_bytes=size_bytes)


@contextmanager
def _medium(target: BinaryIO) -> Iterator[None]:
    """Only our own writing is the store's failure; a source that breaks raises what it raises."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot write {target.name}: {error.strerror}") from error
