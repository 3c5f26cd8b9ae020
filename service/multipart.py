"""A multipart/form-data body, part by part, without ever holding one (RFC 7578).

`PartReader` turns bytes into events and does no I/O; `Form` reads a request's body through it.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .errors import InvalidRequest

MOST_PARTS = 16
MOST_HEADERS = 8
MOST_HEADER_BYTES = 1024
_LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
_SHOWN_CHARACTERS = 40
_UNENCODED = (b"", b"7bit", b"8bit", b"binary")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBegun:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnded:
    pass


Event = PartBegun | PartEnded | bytes


class PartReader:
    """`feed` gives what the bytes so far mean. Raises `InvalidRequest` for what is no such body."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data":
            raise InvalidRequest("send multipart/form-data with the fields manifest and weights", field="content-type")
        if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
            raise InvalidRequest(f"a boundary has 1 to {_LONGEST_BOUNDARY} characters", field="content-type")
        self.has_ended = False
        self._events: list[Event] = []
        self._num_parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_end": self._on_end,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )
        # It would log a client's mistakes as warnings; the answer tells of them.
        self._parser.logger = logging.Logger(__name__, logging.CRITICAL)  # noqa: LOG001 - others keep the library's

    def feed(self, chunk: bytes) -> list[Event]:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(f"the multipart body is broken: {error}", field="body") from error
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """The body has ended here."""
        if not self.has_ended:
            raise InvalidRequest("the multipart body ends before its last boundary", field="body")

    def _on_part_begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MOST_PARTS:
            raise InvalidRequest(f"more than {MOST_PARTS} parts", field="body")
        self._headers = {}

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest("a part has no Content-Disposition with its name", field="body")
        name = options[b"name"].decode("utf-8", "replace")[:_SHOWN_CHARACTERS]
        encoding = self._headers.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _UNENCODED:
            raise InvalidRequest(f"{name}: send the bytes as they are, without an encoding", field=name)
        self._events.append(PartBegun(name=name))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _on_part_end(self) -> None:
        self._events.append(PartEnded())

    def _on_end(self) -> None:
        self.has_ended = True


class Form:
    """One part after the other: `next_part`, and then all of it, by `read` or `pieces`, before the next."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        self._reader = PartReader(content_type)
        self._chunks = chunks
        self._events: deque[Event] = deque()

    async def next_part(self) -> str | None:
        """The name of the next part, None after the last. Raises `InvalidRequest`, and what reading the body raises."""
        event = await self._next()
        if event is None:
            return None
        assert isinstance(event, PartBegun), "the part before was not read to its end"
        return event.name

    async def read(self, limit_bytes: int) -> bytes | None:
        """The part as a whole, or None if it is longer than `limit_bytes`: then nothing more can be read."""
        content = bytearray()
        while (piece := await self.piece(1)) is not None:
            for chunk in piece:
                content += chunk
            if len(content) > limit_bytes:
                return None
        return bytes(content)

    async def piece(self, least_bytes: int) -> list[bytes] | None:
        """At least so many bytes of the part, in chunks as they came; fewer at its end, None after it."""
        chunks: list[bytes] = []
        size_bytes = 0
        while size_bytes < least_bytes:
            event = await self._next()
            if not isinstance(event, bytes):
                assert event is not None, "the reader ends no body inside a part"
                if not chunks:
                    return None
                self._events.appendleft(event)
                break
            chunks.append(event)
            size_bytes += len(event)
        return chunks

    async def _next(self) -> Event | None:
        while not self._events:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self._reader.finish()
                return None
            self._events.extend(self._reader.feed(chunk))
        return self._events.popleft()
