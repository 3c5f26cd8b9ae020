"""One keep-alive HTTP/1.1 connection, one request at a time, with as little work as that takes.

The generator shares the machine with the server that it measures, so a general client would cost what it measures.
"""

import asyncio
import math
import time
from dataclasses import dataclass

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`head` is the status line and all headers, lower case; `done_s` a moment of `time.perf_counter`."""

    status: int
    head: bytes
    done_s: float

    def number(self, name: bytes) -> float:
        """The value of a header that holds a number; 0 where there is none."""
        start = self.head.find(b"\r\n" + name + b": ")
        if start < 0:
            return 0.0
        start += len(name) + 4
        end = self.head.find(b"\r\n", start)
        return float(self.head[start : len(self.head) if end < 0 else end])


class Connection(asyncio.Protocol):
    """`ask` after `open`; a connection that was lost says so to the one who waits."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = bytearray()
        self._needed = 0  # bytes of the whole answer, once its head is there
        self._answered_s = math.inf  # when its latest answer was there
        self.is_open = False

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def ask(self, request: bytes) -> Answer:
        """Raises `ConnectionError` where the connection ends before the answer does."""
        if not self.is_open or self._transport is None:
            raise ConnectionError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    @property
    def idle_s(self) -> float:
        """Since its latest answer; below nothing where there was none."""
        return time.perf_counter() - self._answered_s

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._needed:
            end = self._received.find(_END_OF_HEAD)
            if end < 0:
                return
            self._needed = end + len(_END_OF_HEAD) + _length(bytes(self._received[:end]).lower())
        if len(self._received) >= self._needed and self._waiting is not None:
            done_s = time.perf_counter()
            head = bytes(self._received[: self._received.find(_END_OF_HEAD)]).lower()
            self._received, self._needed = bytearray(), 0
            self._answered_s = done_s
            if not self._waiting.done():
                self._waiting.set_result(Answer(status=int(head[9:12]), head=head, done_s=done_s))


def _length(head: bytes) -> int:
    """Bytes of the body. Every answer of the server's predictions says how many."""
    start = head.index(b"\r\ncontent-length: ") + 18
    end = head.find(b"\r\n", start)
    return int(head[start : len(head) if end < 0 else end])
