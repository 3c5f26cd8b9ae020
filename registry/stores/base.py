"""What every blob store does. Blobs are immutable and stored under the sha256 of their content.

Writing has two steps, so that `publish` can look at bytes before they become a blob: they are staged in a local file
while they are hashed, and `commit` brings that to its final key. A crash between them leaves a temporary file only.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from madx.manifest import Digest

from ..errors import BlobCorrupt
from .blob import CHUNK_BYTES, Blob, Leftover, Staged
from .staging import StagingFile


class BlobStore(Protocol):
    """A digest that is not held raises `UnknownBlob`; a failing medium raises `StoreUnavailable`.

    Threads may share a store. `staging` is the local folder for its temporary files, made when it is first needed; the
    store looks after the files at its top alone, folders in it belong to those who make them.
    """

    @property
    def staging(self) -> Path: ...

    def begin(self, *, limit_bytes: int | None = None) -> StagingFile:
        """A file to write piece by piece; its `finish` gives what `commit` takes."""
        ...

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

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """The bytes from `start` on, `length` of them or as many as there are. It cannot seek.

        Raises `ValueError` for a range that starts beyond the end; one that starts at the end is empty.
        """
        ...

    def size(self, digest: Digest) -> int: ...

    def exists(self, digest: Digest) -> bool: ...

    def list(self) -> Iterator[Blob]:
        """All blobs, in the order of their digests; nothing that is only staged. Whole, or `StoreUnavailable`."""
        ...

    def delete(self, digest: Digest) -> None:
        """Deleting what is not there is no error."""
        ...

    def leftovers(self, before: datetime) -> Iterator[Leftover]:
        """What crashes left, as long as nobody has written to it since `before` (with a time zone)."""
        ...

    def remove_leftover(self, leftover: Leftover) -> None:
        """Removing what is gone is no error; a file that was written to meanwhile stays."""
        ...

    def close(self) -> None:
        """Frees what the store holds open. It is not used afterwards."""
        ...


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
