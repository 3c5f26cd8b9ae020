"""`/v1/keys`: API keys, for whoever has the role admin."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from registry import access
from registry.access import Key, Role

from ..access import Caller, requires
from ..errors import InvalidRequest
from ..idempotency import IdempotencyKey
from ..items import Cursor, ItemPage, Limit
from ..responses import problems
from ..schemas import Strict
from ..sent import SENT_CODES, described, sent
from ..state import server_of

router = APIRouter(prefix="/v1/keys", tags=["access"])
Admin = Annotated[Caller, requires("admin")]


class KeyRequest(Strict):
    name: str = Field(description="whose it is, 1 to 100 characters")
    role: Role = Field(description="each may do what those before it may")
    names: str | None = Field(default=None, description="which adapters a key of the role write writes, like `sw-*`")
    expires_in_days: int | None = Field(default=None, ge=1, le=36_500, description="for ever by default")


class KeyItem(BaseModel):
    id: str
    name: str
    role: Role
    names: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewKeyItem(KeyItem):
    key: str = Field(description="shown here and never again")


@router.post(
    "",
    operation_id="create_key",
    summary="Make a key",
    status_code=201,
    responses=problems("invalid", *SENT_CODES),
    openapi_extra=described(KeyRequest),
)
def create_key(
    request: Request,
    caller: Admin,
    asked: Annotated[KeyRequest, sent(KeyRequest)],
    idempotency_key: IdempotencyKey = None,
) -> NewKeyItem:
    """Its text is in the answer, and can be shown by nobody afterwards: so the answer is never given again."""
    if idempotency_key is not None:
        raise InvalidRequest("a key is shown once, so this cannot be repeated", field="Idempotency-Key")
    days = asked.expires_in_days
    key, shown = access.create_key(
        server_of(request).registry,
        name=asked.name,
        role=asked.role,
        pattern=asked.names,
        valid_for=None if days is None else timedelta(days=days),
        actor=caller.actor,
    )
    return NewKeyItem.model_validate(_fields(key) | {"key": shown})


@router.get("", operation_id="list_keys", summary="All keys, revoked ones too, newest first")
def list_keys(request: Request, _caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> ItemPage[KeyItem]:
    page = access.list_keys(server_of(request).registry, cursor=cursor, limit=limit)
    items = [KeyItem.model_validate(_fields(key)) for key in page.items]
    return ItemPage(items=items, next_cursor=page.next_cursor)


@router.delete(
    "/{key}",
    operation_id="revoke_key",
    summary="Revoke a key, for ever",
    status_code=204,
    response_class=Response,
    responses=problems("unknown_key"),
)
def revoke_key(key: str, request: Request, caller: Admin) -> None:
    """Servers that have just seen it may take it for some seconds more."""
    access.revoke_key(server_of(request).registry, key, actor=caller.actor)


def _fields(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "names": key.pattern,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
