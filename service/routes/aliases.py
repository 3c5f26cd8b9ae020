"""`/v1/adapters/{name}/aliases`: pointers to versions. Who moves one says what it expects to move (RFC 9110, 13.1)."""

from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from registry import aliases

from ..access import Caller, requires
from ..conditions import precondition_of, quoted
from ..items import AliasItem, AliasMoveItem, AliasName, ItemPage, Name, alias_item, move_item
from ..responses import problems
from ..schemas import Strict
from ..sent import SENT_CODES, described, sent
from ..state import server_of

router = APIRouter(prefix="/v1/adapters/{name}/aliases", tags=["aliases"])
Reader = Annotated[Caller, requires("read")]
Writer = Annotated[Caller, requires("write")]
IfMatch = Annotated[str | None, Header(description='the tag that was read, like `"3"`, or `*`')]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only if there is no such alias")]
_MOVING = ("precondition_failed", "precondition_required", "invalid")


class AliasRequest(Strict):
    version: int = Field(ge=1, le=999_999_999, description="what the alias is to point at")


@router.get(
    "", operation_id="list_aliases", summary="An adapter's aliases", responses=problems("unknown_adapter", "invalid")
)
def list_aliases(name: Name, request: Request, _caller: Reader) -> ItemPage[AliasItem]:
    found = aliases.list_aliases(server_of(request).registry, name)
    return ItemPage(items=[alias_item(alias) for alias in found], next_cursor=None)


@router.get(
    "/{alias}",
    operation_id="get_alias",
    summary="Where an alias points",
    responses=problems("unknown_adapter", "unknown_alias", "invalid"),
)
def get_alias(name: Name, alias: AliasName, request: Request, response: Response, _caller: Reader) -> AliasItem:
    found = aliases.get_alias(server_of(request).registry, name, alias)
    response.headers["etag"] = quoted(found.revision)
    return alias_item(found)


@router.put(
    "/{alias}",
    operation_id="set_alias",
    summary="Point an alias at a version",
    responses={
        201: {"model": AliasItem, "description": "There was no such alias"},
        **problems("unknown_adapter", "unknown_version", *_MOVING, *SENT_CODES),
    },
    openapi_extra=described(AliasRequest),
)
def set_alias(
    name: Name,
    alias: AliasName,
    request: Request,
    response: Response,
    caller: Writer,
    asked: Annotated[AliasRequest, sent(AliasRequest)],
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> AliasItem:
    """`If-Match` with the tag of `get_alias` moves it if nobody else has; `If-None-Match: *` creates it."""
    caller.check_name(name)
    precondition = precondition_of(if_match, if_none_match)
    moved = aliases.move_alias(
        server_of(request).registry, name, alias, asked.version, expected=precondition.holds, actor=caller.actor
    )
    response.headers["etag"] = quoted(moved.revision)
    if if_none_match is not None:
        response.status_code = 201
    return alias_item(moved)


@router.delete(
    "/{alias}",
    operation_id="remove_alias",
    summary="Remove an alias; its history stays",
    status_code=204,
    response_class=Response,
    responses=problems("unknown_adapter", "unknown_alias", *_MOVING),
)
def remove_alias(
    name: Name,
    alias: AliasName,
    request: Request,
    caller: Writer,
    if_match: IfMatch = None,
) -> None:
    caller.check_name(name)
    precondition = precondition_of(if_match, None)
    aliases.remove_alias(server_of(request).registry, name, alias, expected=precondition.holds, actor=caller.actor)


@router.get(
    "/{alias}/history",
    operation_id="get_alias_history",
    summary="Every move of an alias, oldest first",
    responses=problems("unknown_adapter", "invalid"),
)
def get_alias_history(name: Name, alias: AliasName, request: Request, _caller: Reader) -> ItemPage[AliasMoveItem]:
    """Empty where there never was such an alias."""
    moves = aliases.alias_history(server_of(request).registry, name, alias)
    return ItemPage(items=[move_item(move) for move in moves], next_cursor=None)
