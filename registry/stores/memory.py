"""The memory twin of the blob stores, for tests and throw-away registries. Staged bytes pass through a local file."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest

from ..errors import UnknownBlob
from .base import Blob, Staged, check_digest
from .staging import stage_file


class MemoryStore:
    """Holds blobs in a dict; the folder for staged files goes when the store does."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="glossa-blobs-", ignore_cleanup_errors=True)

    def close(self) -> None:
        self._blobs.clear()
        self._folder.cleanup()

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        return stage_file(stream, Path(self._folder.name), limit_bytes=limit_bytes)

    def commit(self, staged: Staged) -> None:
        self._blobs[staged.blob.digest] = staged.path.read_bytes()
        staged.path.unlink()

    def discard(self, staged: Staged) -> None:
        staged.path.unlink(missing_ok=True)

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        staged = self.stage(stream, limit_bytes=limit_bytes)
        self.commit(staged)
        return staged.blob

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self._bytes(digest))

    def size(self, digest: Digest) -> int:
        return len(self._bytes(digest))

    def exists(self, digest: Digest) -> bool:
        return check_digest(digest) in self._blobs

    def list(self) -> Iterator[Blob]:
        for digest, content in sorted(self._blobs.items()):
            yield Blob(digest=digest, size_bytes=len(content))

    def delete(self, digest: Digest) -> None:
        self._blobs.pop(check_digest(digest), None)

    def _bytes(self, digest: Digest) -> bytes:
        try:
            return self._blobs[check_digest(digest)]
        except KeyError:
            raise UnknownBlob(f"no blob {digest}") from None
