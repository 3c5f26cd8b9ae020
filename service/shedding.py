"""Refuse at the door: while the queue has room for nobody, a prediction is answered before anything is done for it.

Finding the route, checking the key and reading the request cost most of what a refusal costs, and a server that gets
several times what it can compute refuses more often than it answers.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from madx.errors import GlossaError

from .notes import note_of
from .problems import problem_of, problem_response
from .routes import predict
from .state import server_of
from .tasks import READERS

(_ROUTE,) = predict.router.routes
_ANYBODY = ""


class Shedding:
    """ASGI middleware, inside of `Barrier`. What one key may hold of the queue is checked later, by the route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = _refusal(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    """The answer to a prediction that has no chance now."""
    match, found = _ROUTE.matches(scope)
    if match is not Match.FULL or found["path_params"]["task"] not in READERS:
        return None
    request = Request(scope)
    try:
        server_of(request).engine.has_room(_ANYBODY)
    except GlossaError as error:
        scope.update(found)  # for whoever counts requests by route
        problem = problem_of(error)
        assert problem is not None
        note_of(request).code = problem.code
        return problem_response(error)
    return None
