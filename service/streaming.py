"""Many texts answered by a line each, in their order, as they are done: what `Accept: application/x-ndjson` gets.

Lines are read only as fast as answers are taken: a fixed number is under way, of about as many bytes as one request may
have, and a place is free again once its answer has been handed to the connection. A client that leaves, or takes
nothing for long, ends all of it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from madx.errors import GlossaError

from .errors import InternalError, InvalidRequest
from .logs import where
from .ndjson import MEDIA_TYPE
from .notes import Note, Ran
from .predicting import Call, answer, versions_of
from .problems import problem_content
from .room import Claim, Room
from .tasks import Prepared
from .work import Done

_log = logging.getLogger(__name__)

LINES_AT_ONCE = 64
_MOST_NOTED = 64

Lines = AsyncIterator[bytes | GlossaError]


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """A line; `leave` gives its place back."""

    answer: asyncio.Task[bytes]
    leave: Callable[[], None]


class Stream(Response):
    """`lines` are bodies of one text each, or why one cannot be read; an error that it raises after the first line is
    the last line's. `left` ends when the client has left, and is asked once all lines have been read.
    """

    media_type = MEDIA_TYPE

    def __init__(self, call: Call, lines: Lines, *, left: Callable[[], Awaitable[None]], note: Note) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._call = call
        self._lines = lines
        self._left = left
        self._note = note
        self._places = asyncio.Semaphore(LINES_AT_ONCE)
        self._submitting = asyncio.Lock()
        self._room = Room(call.server.settings.max_body_bytes, call.server.metrics)
        self._answers: asyncio.Queue[_UnderWay | None] = asyncio.Queue()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Raises `ClientDisconnect`, and what reading the first line raises: then nothing has been sent."""
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(group))
                await self._write(send)
                reading.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # what came first has cancelled all else

    async def _read(self, group: asyncio.TaskGroup) -> None:
        index = 0
        try:
            async for line in self._lines:
                await self._begin(group, index, line)
                index += 1
        except GlossaError as error:
            if index == 0:
                raise
            await self._begin(group, index, error)
        self._answers.put_nowait(None)
        await self._left()
        raise ClientDisconnect

    async def _begin(self, group: asyncio.TaskGroup, index: int, line: bytes | GlossaError) -> None:
        """Once there is a place for it."""
        await self._places.acquire()
        size_bytes = 0 if isinstance(line, GlossaError) else len(line)
        leave = await self._room.enter(Claim(size_bytes=size_bytes, key="", waits=True))
        self._answers.put_nowait(_UnderWay(answer=group.create_task(self._line(index, line)), leave=leave))

    async def _write(self, send: Send) -> None:
        has_begun = False
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        while (under_way := await self._answers.get()) is not None:
            line = await under_way.answer
            if not has_begun:
                await send(start)
            has_begun = True
            await self._hand(send, line, more=True)
            self._places.release()
            under_way.leave()
        if not has_begun:
            await send(start)
        await self._hand(send, b"", more=False)

    async def _hand(self, send: Send, content: bytes, *, more: bool) -> None:
        """Raises `ClientDisconnect` where the client takes nothing for too long."""
        try:
            async with asyncio.timeout(self._call.server.settings.upload_idle_s):
                await send({"type": "http.response.body", "body": content, "more_body": more})
        except TimeoutError as error:
            raise ClientDisconnect from error

    async def _line(self, index: int, line: bytes | GlossaError) -> bytes:
        """Never raises: every line is answered by one."""
        try:
            if isinstance(line, GlossaError):
                raise line
            answered = await answer(self._call, lambda: _given(line), self._run, waits=True)
        except GlossaError as error:
            return self._failed(index, error)
        except Exception as error:  # noqa: BLE001 - one line's failure is not the others'; the log has the place
            _log.error("a line of a request failed: %s", where(error))
            return self._failed(index, InternalError("the server failed; its log says where"))
        self._count("")
        self._note.ran = _together(self._note.ran, answered.ran)
        output = orjson.Fragment(answered.reply)
        return orjson.dumps({"index": index, "output": output, **versions_of(answered.stacks)}) + b"\n"

    def _failed(self, index: int, error: GlossaError) -> bytes:
        content = problem_content(error)
        self._count(content["code"])
        return orjson.dumps({"index": index, "error": content}) + b"\n"

    def _count(self, code: str) -> None:
        self._note.lines[code] += 1
        self._call.server.metrics.count_line(task=self._call.task, code=code)

    async def _run(self, prepared: Prepared, deadline_s: float) -> Done:
        """A stream waits for room in the queue, one line at a time, for as long as the line may take."""
        if not prepared.is_single:
            raise InvalidRequest("each line has one text", field="inputs")
        engine, key = self._call.server.engine, self._call.key
        async with self._submitting:
            while not engine.fits(prepared.rows, key=key):
                await engine.freed()
            future = engine.submit(prepared.rows, key=key, deadline_s=deadline_s)
        return await future


async def _given(line: bytes) -> bytes:
    return line


def _together(one: Ran | None, other: Ran) -> Ran:
    """Of a whole stream: sums, but for the time in the queue, of which the longest counts."""
    if one is None:
        return other
    return Ran(
        adapters=tuple(dict.fromkeys((*one.adapters, *other.adapters)))[:_MOST_NOTED],
        tokens=one.tokens + other.tokens,
        tokenization_s=one.tokenization_s + other.tokenization_s,
        queue_s=max(one.queue_s, other.queue_s),
        inference_s=one.inference_s + other.inference_s,
    )
