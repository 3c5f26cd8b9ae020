"""What can be asked for: adapters, languages, tasks. Plain functions, so the database is read off the event loop."""

from typing import Annotated, Any

from fastapi import APIRouter
from starlette.requests import Request

from .. import listings
from ..access import Caller, requires
from ..state import server_of

router = APIRouter(prefix="/v1", tags=["listings"])
Items = dict[str, list[dict[str, Any]]]
Reader = Annotated[Caller, requires("read")]


@router.get("/adapters", operation_id="list_adapters", summary="All adapters, and whether this server can run them")
def adapters(request: Request, _caller: Reader) -> Items:
    return {"items": listings.adapters(server_of(request))}


@router.get("/languages", operation_id="list_languages", summary="Languages with an adapter on this server's backbone")
def languages(request: Request, _caller: Reader) -> Items:
    return {"items": listings.languages(server_of(request))}


@router.get("/tasks", operation_id="list_tasks", summary="Tasks that this server answers, each with an example")
def tasks(request: Request, _caller: Reader) -> Items:
    return {"items": listings.tasks(server_of(request))}
