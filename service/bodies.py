"""The body of a request, as it comes in: never more bytes than allowed, never a client that only keeps a place.

`BodyGuard` stands around the app and gives every request its `Body`, with the limit of ordinary requests. The routes
that take whole files raise it, and read piece by piece.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import BodyTooLarge, Draining, UploadIdle
from .intake import Intake

_PLACE = "glossa.body"
_KEPT_OPEN_BYTES = 1 << 16  # so much unread body is cheaper to take in than a new connection
_LINGER_S = 1.0
_GIVEN_UP = (408, 503)  # the rest of such a body would come late, or never


class Body:
    """Counts what comes. `is_expected` says whether any does, `has_ended` whether all has come."""

    def __init__(self, headers: Headers, receive: Receive, *, limit_bytes: int) -> None:
        declared = headers.get("content-length", "")
        self.declared_bytes = int(declared) if declared.isdecimal() else None
        self.is_expected = bool(self.declared_bytes) or "transfer-encoding" in headers
        self.has_ended = not self.is_expected
        self.limit_bytes = limit_bytes
        self.received_bytes = 0
        self._receive = receive

    def allow(self, limit_bytes: int) -> None:
        """From now on so many. Raises `BodyTooLarge` where the client has announced more."""
        self.limit_bytes = limit_bytes
        self._check(self.declared_bytes or 0)

    async def receive(self) -> Message:
        """In place of the web server's own. Raises `BodyTooLarge`, before a byte is read where more is announced."""
        if not self.has_ended:
            self._check(self.declared_bytes or 0)
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            self.has_ended = not message.get("more_body", False)
            self._check(self.received_bytes)
        return message

    async def chunks(self, intake: Intake, idle_s: float) -> AsyncIterator[bytes]:
        """What comes, as it comes. Raises also `UploadIdle` after `idle_s` without a byte, `Draining` when the server
        stops, and `ClientDisconnect`.
        """
        while not self.has_ended:
            try:
                async with asyncio.timeout(idle_s) as patience:
                    with intake.interruptible(patience):
                        message = await self.receive()
            except TimeoutError as error:
                if intake.is_stopping:
                    raise Draining("the server is shutting down; try again") from error
                raise UploadIdle(f"no byte came for {idle_s:g} s; go on where it broke off, or begin again") from error
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if message.get("body"):
                yield message["body"]

    async def read(self, intake: Intake, idle_s: float) -> bytes:
        """All of it. Raises as `chunks` does."""
        content = bytearray()
        async for chunk in self.chunks(intake, idle_s):
            content += chunk
        return bytes(content)

    async def drain(self) -> None:
        """Throw away what still comes, until it ends or the client leaves."""
        while not self.has_ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            self.has_ended = not message.get("more_body", False)

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self.limit_bytes:
            raise BodyTooLarge(f"the body is longer than {self.limit_bytes} bytes", field="body")


def body_of(request: Request) -> Body:
    body = request.scope[_PLACE]
    assert isinstance(body, Body)
    return body


class BodyGuard:
    """ASGI middleware. An answer that is given before the body was read ends the connection.

    Not at once, though: a closed socket that still gets bytes throws away the answer on its way to the client.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = Body(Headers(scope=scope), receive, limit_bytes=self._limit_bytes)
        closes = False

        async def send_guarded(message: Message) -> None:
            nonlocal closes
            if message["type"] == "http.response.start":
                closes = not body.has_ended and (message["status"] in _GIVEN_UP or _is_long(body))
                if closes:
                    MutableHeaders(scope=message)["connection"] = "close"
            if closes and message["type"] == "http.response.body" and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _linger(body)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        scope[_PLACE] = body
        await self._app(scope, body.receive, send_guarded)


def _is_long(body: Body) -> bool:
    """Whether what is still to come is too much to read for nothing."""
    return body.declared_bytes is None or body.declared_bytes - body.received_bytes > _KEPT_OPEN_BYTES


async def _linger(body: Body) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            await body.drain()
    except TimeoutError:
        return
