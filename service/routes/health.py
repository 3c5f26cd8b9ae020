"""Whether the server lives, whether it can answer, and its figures."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ..access import Caller, requires
from ..errors import NotReady
from ..metrics import OPENMETRICS, TEXT
from ..responses import problems
from ..state import Server, server_of

router = APIRouter(tags=["health"])
_REFUSED = problems("not_ready")


@router.get("/health/live", operation_id="health_live", summary="The engine's heartbeat", responses=_REFUSED)
async def live(request: Request) -> dict[str, Any]:
    """503 where the engine has died or hangs; restarting the server is the cure."""
    _check_live(server_of(request))
    return {"status": "live"}


@router.get("/health/ready", operation_id="health_ready", summary="Whether requests are accepted", responses=_REFUSED)
async def ready(request: Request) -> dict[str, Any]:
    """503 where the engine does not accept requests or the database does not answer, with what was found in `checks`.

    A store that does not answer is told of and no reason: adapters that are in memory go on answering.
    """
    server = server_of(request)
    checks = await _check_ready(server)
    return {
        "status": "ready",
        "backbone": server.loaded.name,
        "fingerprint": server.loaded.fingerprint,
        "checks": checks,
    }


@router.get(
    "/v2/health/live",
    operation_id="inference_live",
    summary="The same, for the Open Inference Protocol",
    responses=_REFUSED,
)
async def live_v2(request: Request) -> dict[str, bool]:
    _check_live(server_of(request))
    return {"live": True}


@router.get(
    "/v2/health/ready",
    operation_id="inference_ready",
    summary="The same, for the Open Inference Protocol",
    responses=_REFUSED,
)
async def ready_v2(request: Request) -> dict[str, bool]:
    await _check_ready(server_of(request))
    return {"ready": True}


def _check_live(server: Server) -> None:
    """Raises `NotReady`."""
    if not server.engine.is_alive:
        raise NotReady("the engine has died or is stuck; restart the server")


async def _check_ready(server: Server) -> dict[str, str]:
    """What was found of each part. Raises `NotReady`."""
    database, store = await asyncio.gather(server.probes.database.answers(), server.probes.store.answers())
    engine = server.engine
    state = "running" if engine.is_ready else "draining" if engine.is_draining else "dead"
    checks = {"engine": state, "database": _told(database), "store": _told(store)}
    if not engine.is_ready:
        raise NotReady("the engine does not accept requests", checks=checks)
    if not database:
        raise NotReady("the registry's database does not answer", checks=checks)
    return checks


def _told(answers: bool) -> str:
    return "answers" if answers else "silent"


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"content": {media_type: {"schema": {"type": "string"}} for media_type in (TEXT, OPENMETRICS)}}},
)
def metrics(request: Request, _caller: Annotated[Caller, requires("read")]) -> Response:
    """In OpenMetrics where the request accepts it, else in Prometheus's text form."""
    content, media_type = server_of(request).metrics.render(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
