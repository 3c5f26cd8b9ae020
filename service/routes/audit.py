"""`/v1/audit`: who did what, for whoever has the role admin."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from registry.audit import list_audit as read_audit

from ..access import Caller, requires
from ..items import AuditItem, Cursor, ItemPage, Limit, audit_item
from ..responses import problems
from ..state import server_of

router = APIRouter(prefix="/v1/audit", tags=["access"])


@router.get("", operation_id="list_audit", summary="Every write, newest first", responses=problems("invalid"))
def list_audit(
    request: Request,
    _caller: Annotated[Caller, requires("admin")],
    subject: Annotated[str | None, Query(max_length=200, description="what was changed: a name, or name@alias")] = None,
    actor: Annotated[str | None, Query(max_length=200, description="who changed it")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ItemPage[AuditItem]:
    """With the digest of what was there and of what is there now."""
    page = read_audit(server_of(request).registry, subject=subject, actor=actor, limit=limit, cursor=cursor)
    return ItemPage(items=[audit_item(entry) for entry in page.items], next_cursor=page.next_cursor)
