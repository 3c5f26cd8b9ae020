"""Refuse at the door: a prediction that the queue has no room for is answered before the app hears of it.

Its task, the middleware and the route cost most of what a refusal costs, and a server that gets several times what it
can compute refuses more often than it answers. The door knows the keys that were used a moment ago, and so what each
may add; what it does not know, and a body that is large or comes in chunks, is left to the route.
"""

import time

from fastapi import FastAPI
from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import Message, Scope

from madx.errors import GlossaError

from .logs import REQUEST_ID
from .notes import Note, request_id_of
from .problems import problem_of, problem_response
from .state import Server
from .tasks import READERS
from .telling import tell

MOST_BODY_BYTES = 1 << 16
"""So much may come behind the answer, and is thrown away."""
_PATH = "/v1/predict/{task}"
_BEFORE_TASK = _PATH.removesuffix("{task}")
_ANYBODY = ""


class Door:
    """Of one app, whose lifespan has begun."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def refusal(self, scope: Scope) -> tuple[Message, Message] | None:
        """The whole answer to a prediction that has no chance now; told in log and figures."""
        task = _task_of(scope)
        if task is None:
            return None
        started_s = time.monotonic()
        server: Server = self._app.state.server
        key = _key_of(scope, server)
        try:
            server.engine.has_room(key)
        except GlossaError as error:
            return _refused(scope, task, key, error, server, started_s)
        return None


def _task_of(scope: Scope) -> str | None:
    """Of a prediction with a small body."""
    path = scope["path"]
    if scope["method"] != "POST" or not path.startswith(_BEFORE_TASK):
        return None
    task: str = path[len(_BEFORE_TASK) :]
    return task if task in READERS and _has_small_body(scope) else None


def _has_small_body(scope: Scope) -> bool:
    size = b"0"
    for name, value in scope["headers"]:
        if name in (b"transfer-encoding", b"expect"):
            return False
        if name == b"content-length":
            size = value
    return size.isdigit() and int(size) <= MOST_BODY_BYTES


def _key_of(scope: Scope, server: Server) -> str:
    """The id of a key that may predict, as far as it is remembered."""
    header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, text = get_authorization_scheme_param(header.decode("latin-1"))
    key = server.access.remembered(text) if scheme.lower() == "bearer" else None
    return _ANYBODY if key is None or not key.may("predict") else key.id


def _refused(
    scope: Scope, task: str, key: str, error: GlossaError, server: Server, started_s: float
) -> tuple[Message, Message]:
    problem, response = problem_of(error), problem_response(error)
    note = Note(request_id=request_id_of(scope), key=key, code="" if problem is None else problem.code)
    in_context = REQUEST_ID.set(note.request_id)
    tell(
        note,
        server.metrics,
        access_log=server.settings.access_log,
        method="POST",
        route=_PATH,
        task=task,
        status=response.status_code,
        seconds=time.monotonic() - started_s,
    )
    REQUEST_ID.reset(in_context)
    headers = [*response.raw_headers, (b"x-request-id", note.request_id.encode())]
    start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    return start, {"type": "http.response.body", "body": response.body}
