"""The file of one resumable upload, open for its one writer. `uploads` keeps the row beside it.

The lock is the operating system's (flock): whoever dies lets go of it. It is given back by hand, because a child
process that is just being started shares it for a moment.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from .durable import sync_folder
from .errors import StoreUnavailable, UnknownUpload, UploadBusy

_ID_CHARACTERS = 32


def is_upload_id(text: str) -> bool:
    return len(text) == _ID_CHARACTERS and set(text) <= set("0123456789abcdef")


class UploadFile:
    """Locked from `open` to `close`. Raises `StoreUnavailable` where the medium fails."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size

    @staticmethod
    def create(path: Path) -> None:
        """An empty one, durably."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
            sync_folder(path.parent)
        except OSError as error:
            raise _failed(path, error) from error

    @classmethod
    def open(cls, path: Path) -> "UploadFile":
        """Raises `UploadBusy` where another has it, and `UnknownUpload` where it is gone."""
        gone = UnknownUpload(f"upload {path.name!r} has no bytes at this server; begin a new one")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise gone from error
        except OSError as error:
            raise _failed(path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:  # removed between the two calls
                raise gone
            return cls(path, descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise UploadBusy(f"another request is working on upload {path.name!r}; wait until it has ended") from error
        except BaseException:
            os.close(descriptor)
            raise

    @staticmethod
    @contextmanager
    def held_if_free(path: Path) -> Iterator[bool]:
        """Whether nobody else has it; it is locked meanwhile. A file that is gone is free."""
        try:
            file = UploadFile.open(path)
        except UploadBusy:
            yield False
        except UnknownUpload:
            yield True
        else:
            with file:
                yield True

    def write(self, chunk: bytes) -> None:
        """All of it, or an error and as much as the medium took."""
        left = memoryview(chunk)
        try:
            while left:
                written = os.write(self._descriptor, left)
                self.size_bytes += written
                left = left[written:]
        except OSError as error:
            raise _failed(self.path, error) from error

    def sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _failed(self.path, error) from error

    def close(self) -> None:
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)

    def __enter__(self) -> "UploadFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def unlink_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"cannot write {path}: {error.strerror}")
