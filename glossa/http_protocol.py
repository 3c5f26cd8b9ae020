"""HTTP/1.1 for uvicorn, by `httptools`: uvicorn's own protocol, with a door and with bounds on what belongs to no body.

The parser takes heads, and trailers behind chunks, of any length and for as long as they come. Here a connection ends
that sends too much of them, or whose next head does not come to its end. What the door refuses is answered as soon as
its head is there, without a task of its own.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MOST_HEAD_BYTES = 1 << 16
HEAD_S = 20.0
"""For so long the first head of a connection is waited for, and the end of any that has begun."""


Refusal = Callable[[Scope], tuple[Message, Message] | None]
"""A request's scope -> its whole answer, head and body, where the app need not hear of it."""


class BoundedHttp(HttpToolsProtocol):
    def __init__(self, *arguments: Any, refusal: Refusal, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._refusal = refusal
        self._loose_bytes = 0  # what came since the last end of a head or piece of a body
        self._is_in_head = True
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._loose_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._loose_bytes > MOST_HEAD_BYTES:
            self.send_400_response("The request's head is too long.")
        elif self._is_in_head and self._patience is None:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._loose_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Behind others on a connection, or before a client that does not read, requests take the long way: it can wait.
        is_free = not self.pipeline and not self.flow.write_paused
        answer = self._refusal(cast(Scope, cycle.scope)) if is_free else None
        if answer is None:
            super()._start_asgi_task(cycle, app)
            return
        for message in answer:
            with suppress(StopIteration):  # the end of a coroutine that has nothing to wait for
                cycle.send(message).send(None)  # type: ignore[arg-type]

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_for_head()  # until the request before this one is answered
        else:
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
