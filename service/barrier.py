"""Around every request: its id, its figures, its line of the log, and the last resort for errors nobody expected.

Inside Starlette's own handling of errors, which would pass the exception on to the web server's log, message and all.
"""

import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import InternalError
from .logs import REQUEST_ID, where
from .metrics import Metrics
from .notes import Note, attach
from .problems import problem_response
from .tasks import READERS

_log = logging.getLogger(__name__)
_requests = logging.getLogger("glossa.requests")
_CLIENT_CLOSED = 499  # no reply was sent: the client had left
_REQUEST_ID = b"x-request-id"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


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
        note = Note(request_id=_request_id(scope))
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
        route = getattr(scope.get("route"), "path", "unknown")
        asked = scope.get("path_params", {}).get("task")
        task = asked if asked in READERS else ""
        self._metrics.count_request(note, route=route, task=task, status=status, seconds=seconds)
        level = logging.WARNING if status >= 500 else logging.INFO
        if (self._access_log or status >= 500) and _requests.isEnabledFor(level):
            method = scope["method"] if scope["method"] in _METHODS else "unknown"
            about = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), "task": task}
            _requests.log(level, "%s %s %d", method, route, status, extra={"fields": about | _fields(note)})


def _request_id(scope: Scope) -> str:
    """The client's, where it can stand in a header and a log as it is; else one of our own."""
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _SAFE.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)


def _fields(note: Note) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": note.key, "code": note.code}
    if note.ran is not None:
        fields |= {
            "adapters": note.ran.adapters,
            "tokens": note.ran.tokens,
            "tokenization_s": round(note.ran.tokenization_s, 6),
            "queue_s": round(note.ran.queue_s, 6),
            "inference_s": round(note.ran.inference_s, 6),
        }
    if note.lines:
        fields["lines"] = note.lines.total()
        fields["errors"] = {code: count for code, count in note.lines.items() if code}
    return fields
