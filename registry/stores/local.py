"""Blobs in a local folder: `ab/cdef…` by digest, staged under `staging/` on the same file system.

Durable by temporary name, fsync, rename, fsync of the folder.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest, is_digest

from ..durable import sync_folder
from ..errors import StoreUnavailable, UnknownBlob
from .base import Blob, Staged, check_digest
from .staging import stage_file


class LocalStore:
    """`root` is created on the first write, not before."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        return stage_file(stream, self.root / "staging", limit_bytes=limit_bytes)

    def commit(self, staged: Staged) -> None:
        final = self._path(staged.blob.digest)
        try:
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
        staged.path.unlink(missing_ok=True)

    def put(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Blob:
        staged = self.stage(stream, limit_bytes=limit_bytes)
        try:
            self.commit(staged)
        finally:
            self.discard(staged)
        return staged.blob

    def open(self, digest: Digest) -> BinaryIO:
        try:
            return self._path(digest).open("rb")
        except OSError as error:
            raise _translated(digest, error) from error

    def size(self, digest: Digest) -> int:
        try:
            return self._path(digest).stat().st_size
        except OSError as error:
            raise _translated(digest, error) from error

    def exists(self, digest: Digest) -> bool:
        return self._path(digest).is_file()

    def list(self) -> Iterator[Blob]:
        for path in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            digest = path.parent.name + path.name
            if is_digest(digest):
                yield Blob(digest=Digest(digest), size_bytes=path.stat().st_size)

    def delete(self, digest: Digest) -> None:
        path = self._path(digest)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _translated(digest, error) from error

    def _path(self, digest: Digest) -> Path:
        check_digest(digest)
        return self.root / digest[:2] / digest[2:]


def _translated(digest: Digest, error: OSError) -> UnknownBlob | StoreUnavailable:
    if isinstance(error, FileNotFoundError):
        return UnknownBlob(f"no blob {digest}")
    return StoreUnavailable(f"cannot reach blob {digest}: {error.strerror}")
