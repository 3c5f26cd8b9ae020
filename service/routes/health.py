"""Whether the server lives, whether it can answer, and its figures."""

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..access import Caller, requires
from ..errors import NotReady
from ..metrics import OPENMETRICS, TEXT
from ..responses import problems
from ..state import server_of

router = APIRouter()


@router.get(
    "/health/live",
    operation_id="health_live",
    summary="The engine's heartbeat",
    tags=["health"],
    responses=problems("not_ready"),
)
async def live(request: Request) -> dict[str, Any]:
    if not server_of(request).engine.is_alive:
        raise NotReady("the engine has died or is stuck; restart the server")
    return {"status": "live"}


@router.get(
    "/health/ready",
    operation_id="health_ready",
    summary="Whether requests are accepted",
    tags=["health"],
    responses=problems("not_ready"),
)
async def ready(request: Request) -> dict[str, Any]:
    server = server_of(request)
    if not server.engine.is_ready:
        raise NotReady("the engine does not accept requests")
    return {"status": "ready", "backbone": server.loaded.name, "fingerprint": server.loaded.fingerprint}


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics",
    tags=["health"],
    response_class=Response,
    responses={200: {"content": {media_type: {"schema": {"type": "string"}} for media_type in (TEXT, OPENMETRICS)}}},
)
def metrics(request: Request, _caller: Annotated[Caller, requires("read")]) -> Response:
    """In OpenMetrics where the request accepts it, else in Prometheus's text form."""
    content, media_type = server_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
