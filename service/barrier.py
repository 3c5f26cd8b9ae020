"""Around every request: its id, its metrics, and the last resort for errors that nobody expected.

Inside Starlette's own handling of errors, which would pass the exception on to the web server's log, message and all.
"""

import logging
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import InternalError
from .logs import where
from .metrics import Metrics
from .problems import problem_response
from .tasks import PREPARE

_log = logging.getLogger(__name__)
_CLIENT_CLOSED = 499  # no reply was sent: the client had left


class Barrier:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        started_s = time.monotonic()
        status: int | None = None

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            status = status or _CLIENT_CLOSED
        except Exception as error:  # noqa: BLE001 - the client gets a problem, the log the place, nobody the text
            _log.error("request %s failed: %s", request_id, where(error))
            if status is None:
                failed = problem_response(InternalError("the server failed; its log says where"))
                await failed(scope, receive, send_marked)
        self._count(scope, status or _CLIENT_CLOSED, time.monotonic() - started_s)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        """Addresses as the app knows them and tasks that exist: a label must not grow with what clients invent."""
        route = getattr(scope.get("route"), "path", "unknown")
        asked = scope.get("path_params", {}).get("task")
        task = asked if asked in PREPARE else ""
        self._metrics.requests.labels(route=route, task=task, status=str(status)).inc()
        self._metrics.request_seconds.labels(route=route, task=task).observe(seconds)
