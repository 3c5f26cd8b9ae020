"""What `open` of a store gives: a stretch of a blob, whose reading errors are the store's and not the medium's."""

import io
from typing import BinaryIO, Protocol

from madx.manifest import Digest

from ..errors import StoreUnavailable
from .blob import CHUNK_BYTES


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


def check_range(digest: Digest, start: int, length: int | None, size_bytes: int) -> int:
    """How many bytes the range has. Raises `ValueError` where it starts outside the blob or has a negative length."""
    if not 0 <= start <= size_bytes or (length is not None and length < 0):
        raise ValueError(f"blob {digest} has {size_bytes} bytes; no range of it starts at {start} with length {length}")
    left = size_bytes - start
    return left if length is None else min(length, left)


def reader(digest: Digest, source: Source, length: int, failures: tuple[type[Exception], ...]) -> BinaryIO:
    """The next `length` bytes of `source`, which it owns. `failures` become `StoreUnavailable`, an early end too."""
    return io.BufferedReader(_Stretch(digest, source, length, failures), CHUNK_BYTES)


class _Stretch(io.RawIOBase):
    def __init__(self, digest: Digest, source: Source, left: int, failures: tuple[type[Exception], ...]) -> None:
        self._digest = digest
        self._source = source
        self._left = left
        self._failures = failures

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._left)
        if not wanted:
            return 0
        try:
            chunk = self._source.read(wanted)
        except self._failures as error:
            raise StoreUnavailable(f"blob {self._digest} broke off while it was read; try again") from error
        if not chunk:
            raise StoreUnavailable(f"blob {self._digest} ended {self._left} bytes early; `glossa fsck` checks it")
        buffer[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
