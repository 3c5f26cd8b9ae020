"""What every blob store does. Blobs are immutable and stored under the sha256 of their content.

Writing has two steps, so that `publish` can look at bytes before they become a blob: `stage` streams into a temporary
local file while hashing, `commit` moves that to its final key. A crash between them leaves a temporary file only.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from madx.manifest import Digest, is_digest

from ..errors import BlobCorrupt, UnknownBlob

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """Bytes that wait at `path` for `commit` or `discard`; the store owns the file, others only read it."""

    path: Path
    blob: Blob


class BlobStore(Protocol):
    """A digest that is not held raises `UnknownBlob`; a failing medium raises `StoreUnavailable`."""

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        """Raises `BlobTooLarge` past `limit_bytes`, and keeps nothing then."""
        ...

    def commit(self, staged: Staged) -> None:
        """Make `staged` readable under its digest, durably. Replaces what is there, so it heals a damaged blob."""
        ...

    def discard(self, staged: Staged) -> None:
        """Forget `staged`; does nothing after `commit`."""
        ...

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        """Stage and commit."""
        ...

    def open(self, digest: Digest) -> BinaryIO: ...

    def size(self, digest: Digest) -> int: ...

    def exists(self, digest: Digest) -> bool: ...

    def list(self) -> Iterator[Blob]:
        """All blobs, in the order of their digests; nothing that is only staged."""
        ...

    def delete(self, digest: Digest) -> None:
        """Deleting what is not there is no error."""
        ...


def check_digest(digest: str) -> Digest:
    """Guards every key that a store builds, so that no caller's text becomes a path."""
    if not is_digest(digest):
        raise UnknownBlob(f"{digest!r} is no blob digest: a digest is 64 lower-case hexadecimal digits")
    return Digest(digest)


def verify(store: BlobStore, blob: Blob) -> None:
    """Read `blob` back and hash it. Raises `BlobCorrupt`, or `UnknownBlob` if it is not there."""
    hasher = hashlib.sha256()
    size_bytes = 0
    with store.open(blob.digest) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
            size_bytes += len(chunk)
    if hasher.hexdigest() != blob.digest or size_bytes != blob.size_bytes:
        raise BlobCorrupt(f"blob {blob.digest} does not hold the bytes it is named after; publish it again to heal it")
