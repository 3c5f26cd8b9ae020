"""What can be asked for: adapters, languages, tasks. Plain functions, so the database is read off the event loop."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from .. import listings
from ..state import server_of

router = APIRouter(prefix="/v1", tags=["listings"])
Items = dict[str, list[dict[str, Any]]]


@router.get("/adapters", summary="All adapters, and whether this server can run them")
def adapters(request: Request) -> Items:
    return {"items": listings.adapters(server_of(request))}


@router.get("/languages", summary="Languages with an adapter on this server's backbone")
def languages(request: Request) -> Items:
    return {"items": listings.languages(server_of(request))}


@router.get("/tasks", summary="Tasks that this server answers, each with an example")
def tasks(request: Request) -> Items:
    return {"items": listings.tasks(server_of(request))}
