"""Around every request: its id, its figures, its line of the log, and the last resort for errors nobody expected.

Inside Starlette's own handling of errors, which would pass the exception on to the web server's log, message and all.
"""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import InternalError
from .logs import REQUEST_ID, where
from .metrics import Metrics
from .notes import Note, attach, request_id_of
from .problems import problem_response
from .tasks import READERS
from .telling import tell

_log = logging.getLogger(__name__)
_CLIENT_CLOSED = 499  # no reply was sent: the client had left
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class Barrier:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, access_log: bool) -> None:
        """Without `access_log` only requests that fail with 5xx have a line."""
        self._app = app
        self._metrics = metrics
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = Note(request_id=request_id_of(scope))
        attach(note, scope)
        in_context = REQUEST_ID.set(note.request_id)
        started_s = time.monotonic()
        self._metrics.requests_in_flight.inc()
        try:
            status = await self._answered(note, scope, receive, send)
            self._tell(note, scope, status, time.monotonic() - started_s)
        finally:
            self._metrics.requests_in_flight.dec()
            REQUEST_ID.reset(in_context)

    async def _answered(self, note: Note, scope: Scope, receive: Receive, send: Send) -> int:
        status: int | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = note.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            self._metrics.disconnects.inc()
        except Exception as error:  # noqa: BLE001 - the client gets a problem, the log the place, nobody the text
            _log.error("a request failed: %s", where(error))
            note.code = InternalError.code
            if status is None:
                failed = problem_response(InternalError("the server failed; its log says where"))
                await failed(scope, receive, send_marked)
        return _CLIENT_CLOSED if status is None else status

    def _tell(self, note: Note, scope: Scope, status: int, seconds: float) -> None:
        """Addresses as the app knows them and tasks that exist: neither label nor log has what clients invent."""
        asked = scope.get("path_params", {}).get("task")
        tell(
            note,
            self._metrics,
            access_log=self._access_log,
            method=scope["method"] if scope["method"] in _METHODS else "unknown",
            route=getattr(scope.get("route"), "path", "unknown"),
            task=asked if asked in READERS else "",
            status=status,
            seconds=seconds,
        )
