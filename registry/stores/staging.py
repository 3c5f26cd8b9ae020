"""Bytes go into a temporary local file while they are hashed: the first step of every store's write.

Files that a crash left here are told from live ones by their age alone, so whoever collects them waits long enough.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from madx.manifest import Digest

from ..errors import BlobTooLarge, StoreUnavailable
from .blob import CHUNK_BYTES, Blob, Leftover, Staged

SUFFIX = ".part"


class StagingFile:
    """A new file at the top of `folder`, written piece by piece: `write`, then `finish`, or `abort` at any time.

    One thread at a time uses it. Raises `StoreUnavailable` where the medium fails; the file stays until `abort` then.
    """

    def __init__(self, folder: Path, *, limit_bytes: int | None = None) -> None:
        self.path = folder / f"{secrets.token_hex(16)}{SUFFIX}"
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._hasher = hashlib.sha256()
        with _writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb")

    def write(self, chunk: bytes) -> None:
        """Raises `BlobTooLarge` where `chunk` would pass the limit, and writes nothing of it then."""
        if self._limit_bytes is not None and self.size_bytes + len(chunk) > self._limit_bytes:
            raise BlobTooLarge(f"the content is longer than its limit of {self._limit_bytes} bytes")
        with _writing(self.path):
            self._file.write(chunk)
        self._hasher.update(chunk)
        self.size_bytes += len(chunk)

    def flush(self) -> None:
        """From here on whoever opens `path` reads what was written."""
        with _writing(self.path):
            self._file.flush()

    def finish(self) -> Staged:
        """Nothing can be written afterwards."""
        with _writing(self.path), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return Staged(path=self.path, blob=Blob(digest=Digest(self._hasher.hexdigest()), size_bytes=self.size_bytes))

    def abort(self) -> None:
        """Remove the file. May be called again, and after `finish`, where it does what `discard` does."""
        with suppress(OSError):  # closing writes what is still buffered, which a full disk refuses again
            self._file.close()
        remove_staged(self.path)


def stage_stream(stream: BinaryIO, file: StagingFile) -> Staged:
    """Copy `stream` into `file` and finish it. Whatever fails, no file stays behind."""
    try:
        while chunk := stream.read(CHUNK_BYTES):
            file.write(chunk)
        return file.finish()
    except BaseException:
        file.abort()
        raise


def remove_staged(path: Path) -> None:
    with _writing(path):
        path.unlink(missing_ok=True)


def staged_leftovers(folder: Path, before: datetime) -> Iterator[Leftover]:
    """Temporary files at the top of `folder` that were last written before `before`; folders in it are others'."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"cannot list {folder}: {error.strerror}") from error
    for name in names:
        leftover = _leftover(folder / name)
        if leftover is not None and leftover.modified_at < before:
            yield leftover


def remove_staged_leftover(folder: Path, leftover: Leftover) -> None:
    path = folder / Path(leftover.name).name
    if str(path) == leftover.name and _leftover(path) == leftover:
        remove_staged(path)


def _leftover(path: Path) -> Leftover | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreUnavailable(f"cannot read {path}: {error.strerror}") from error
    if path.is_dir():
        return None
    modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    return Leftover(name=str(path), modified_at=modified_at, size_bytes=status.st_size)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Only our own writing is the store's failure; a source that breaks raises what it raises."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot write {path}: {error.strerror}") from error
