"""The memory twin of the blob stores, for tests and throw-away registries. Staged bytes pass through a local file."""

import io
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest

from ..errors import StoreUnavailable, UnknownBlob
from .blob import Blob, Leftover, Staged, check_digest
from .reader import check_range
from .staging import StagingFile, remove_staged, remove_staged_leftover, stage_stream, staged_leftovers


class MemoryStore:
    """Holds blobs in a dict; the folder for staged files goes when the store does."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="glossa-blobs-", ignore_cleanup_errors=True)
        self.staging = Path(self._folder.name)

    def close(self) -> None:
        self._blobs.clear()
        self._folder.cleanup()

    def begin(self, *, limit_bytes: int | None = None) -> StagingFile:
        return StagingFile(self.staging, limit_bytes=limit_bytes)

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        return stage_stream(stream, self.begin(limit_bytes=limit_bytes))

    def commit(self, staged: Staged) -> None:
        try:
            content = staged.path.read_bytes()
        except OSError as error:
            raise StoreUnavailable(f"cannot read {staged.path}: {error.strerror}") from error
        self._blobs[check_digest(staged.blob.digest)] = content
        remove_staged(staged.path)

    def discard(self, staged: Staged) -> None:
        remove_staged(staged.path)

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        staged = self.stage(stream, limit_bytes=limit_bytes)
        self.commit(staged)
        return staged.blob

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        content = self._bytes(digest)
        stop = start + check_range(digest, start, length, len(content))
        return io.BytesIO(content if stop - start == len(content) else content[start:stop])

    def size(self, digest: Digest) -> int:
        return len(self._bytes(digest))

    def exists(self, digest: Digest) -> bool:
        return check_digest(digest) in self._blobs

    def list(self) -> Iterator[Blob]:
        for digest, content in sorted(self._blobs.copy().items()):
            yield Blob(digest=digest, size_bytes=len(content))

    def delete(self, digest: Digest) -> None:
        self._blobs.pop(check_digest(digest), None)

    def leftovers(self, before: datetime) -> Iterator[Leftover]:
        return staged_leftovers(self.staging, before)

    def remove_leftover(self, leftover: Leftover) -> None:
        remove_staged_leftover(self.staging, leftover)

    def _bytes(self, digest: Digest) -> bytes:
        try:
            return self._blobs[check_digest(digest)]
        except KeyError:
            raise UnknownBlob(f"no blob {digest}") from None
