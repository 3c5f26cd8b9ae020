"""`/v1/languages` and `/v1/tasks`: what can be asked for. Plain functions: the database is read off the event loop."""

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request

from .. import listings
from ..access import Caller, requires
from ..state import server_of

router = APIRouter(prefix="/v1", tags=["listings"])
Reader = Annotated[Caller, requires("read")]
Items = dict[str, list[dict[str, Any]]]


@router.get("/languages", operation_id="list_languages", summary="Languages with an adapter on this server's backbone")
def languages(request: Request, _caller: Reader) -> Items:
    return {"items": listings.languages(server_of(request))}


@router.get("/tasks", operation_id="list_tasks", summary="Tasks that this server answers, each with an example")
def tasks(request: Request, _caller: Reader) -> Items:
    return {"items": listings.tasks(server_of(request))}
