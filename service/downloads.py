"""Weights on their way out: a store's stream -> pieces of the answer's body, read in threads of their own.

A store that is slow holds up downloads alone, and a client that is slow holds no thread.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import BinaryIO

from anyio import CapacityLimiter, to_thread
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from madx.manifest import Digest
from registry.errors import BlobCorrupt
from registry.stores import BlobStore

from .conditions import Part

_PIECE_BYTES = 1 << 18
_READERS = 8


class Downloads:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._readers = CapacityLimiter(_READERS)

    async def answer(
        self, store: BlobStore, digest: Digest, part: Part, *, headers: dict[str, str]
    ) -> StreamingResponse:
        """200 or, for a part, 206. Raises what the store raises; once the answer has begun, a failure ends it early."""
        opening = partial(store.open, digest, start=part.start, length=part.length)
        try:
            stream = await to_thread.run_sync(opening, limiter=self._readers)
        except ValueError as error:
            raise _shortened(digest) from error
        return _Streamed(
            stream,
            self._pieces(stream, digest, part.length),
            status_code=200 if part.is_whole else 206,
            headers=headers | {"content-length": str(part.length)},
        )

    async def _pieces(self, stream: BinaryIO, digest: Digest, length: int) -> AsyncIterator[bytes]:
        """A body that only stopped early would leave the client waiting; a failure ends the connection."""
        left = length
        while piece := await to_thread.run_sync(stream.read, _PIECE_BYTES, limiter=self._readers):
            left -= len(piece)
            yield piece
        if left:
            raise _shortened(digest)


class _Streamed(StreamingResponse):
    """Closes its stream in every case, also where the client has left before the first piece."""

    media_type = "application/octet-stream"

    def __init__(
        self, stream: BinaryIO, pieces: AsyncIterator[bytes], *, status_code: int, headers: dict[str, str]
    ) -> None:
        super().__init__(pieces, status_code=status_code, headers=headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def _shortened(digest: Digest) -> BlobCorrupt:
    return BlobCorrupt(f"blob {digest} is shorter than it was; publish it again to heal it")
