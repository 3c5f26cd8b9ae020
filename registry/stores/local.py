"""Blobs in a local folder: `ab/cdef…` by digest, staged under `staging/` on the same file system.

Durable by temporary name, fsync, rename, fsync of the folder.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest, is_digest

from ..durable import sync_folder
from ..errors import StoreUnavailable, UnknownBlob
from .blob import Blob, Leftover, Staged, check_digest
from .reader import check_range, reader
from .staging import StagingFile, remove_staged, remove_staged_leftover, stage_stream, staged_leftovers

SHARD = re.compile("[0-9a-f]{2}")


class LocalStore:
    """`root` is created on the first write, not before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"

    def begin(self, *, limit_bytes: int | None = None) -> StagingFile:
        return StagingFile(self.staging, limit_bytes=limit_bytes)

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        return stage_stream(stream, self.begin(limit_bytes=limit_bytes))

    def commit(self, staged: Staged) -> None:
        final = self._path(staged.blob.digest)
        try:
            with staged.path.open("rb") as file:  # one that the caller made may not be synced yet
                os.fsync(file.fileno())
            final.parent.mkdir(exist_ok=True)
            self.rename(staged.path, final)
            for folder in (final.parent, self.root, self.root.parent):
                sync_folder(folder)
        except OSError as error:
            raise StoreUnavailable(f"cannot write {final}: {error.strerror}") from error

    def rename(self, source: Path, target: Path) -> None:
        """The atomic step. Both are on one file system."""
        source.replace(target)

    def discard(self, staged: Staged) -> None:
        remove_staged(staged.path)

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        staged = self.stage(stream, limit_bytes=limit_bytes)
        try:
            self.commit(staged)
        finally:
            self.discard(staged)
        return staged.blob

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        try:
            file = self._path(digest).open("rb", buffering=0)
        except OSError as error:
            raise _translated(digest, error) from error
        try:
            left = check_range(digest, start, length, os.fstat(file.fileno()).st_size)
            file.seek(start)
        except BaseException:
            file.close()
            raise
        return reader(digest, file, left, (OSError,))

    def size(self, digest: Digest) -> int:
        try:
            return self._path(digest).stat().st_size
        except OSError as error:
            raise _translated(digest, error) from error

    def exists(self, digest: Digest) -> bool:
        check_digest(digest)
        try:
            self.size(digest)
        except UnknownBlob:
            return False
        return True

    def list(self) -> Iterator[Blob]:
        for shard in _names(self.root):
            for name in _names(self.root / shard) if SHARD.fullmatch(shard) else ():
                if is_digest(shard + name):
                    digest = Digest(shard + name)
                    try:
                        yield Blob(digest=digest, size_bytes=self.size(digest))
                    except UnknownBlob:
                        continue  # deleted since the folder was read

    def delete(self, digest: Digest) -> None:
        path = self._path(digest)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _translated(digest, error) from error

    def leftovers(self, before: datetime) -> Iterator[Leftover]:
        return staged_leftovers(self.staging, before)

    def remove_leftover(self, leftover: Leftover) -> None:
        remove_staged_leftover(self.staging, leftover)

    def close(self) -> None:
        """A folder needs no closing."""

    def _path(self, digest: Digest) -> Path:
        check_digest(digest)
        return self.root / digest[:2] / digest[2:]


def _names(folder: Path) -> list[str]:
    """Sorted. Only a folder that is not there is empty: a listing that fails must never look like a short one."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreUnavailable(f"cannot list {folder}: {error.strerror}") from error


def _translated(digest: Digest, error: OSError) -> UnknownBlob | StoreUnavailable:
    if isinstance(error, FileNotFoundError):
        return UnknownBlob(f"no blob {digest}")
    return StoreUnavailable(f"cannot reach blob {digest}: {error.strerror}")
