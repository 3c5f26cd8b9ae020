"""`/v1/adapters`, `/v1/resolve`, `/v1/backbones`: what there is. Plain functions, so that the database is read off the
event loop.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from madx.errors import InvalidConfig
from madx.manifest import Kind
from registry import catalog, search
from registry.errors import InvalidName
from registry.references import parse_reference

from ..access import Caller, requires
from ..errors import InvalidRequest
from ..items import (
    AdapterItem,
    BackboneItem,
    Cursor,
    ItemPage,
    Limit,
    Name,
    ShownAdapterItem,
    VersionItem,
    adapter_fields,
    backbone_item,
    shown_adapter_item,
    version_item,
)
from ..responses import problems
from ..state import server_of

router = APIRouter(prefix="/v1", tags=["catalogue"])
Reader = Annotated[Caller, requires("read")]
Filter = Annotated[str | None, Query(max_length=200)]


@router.get(
    "/adapters",
    operation_id="list_adapters",
    summary="Adapters by name, and whether this server can run them",
    responses=problems("unknown_backbone", "ambiguous", "invalid"),
)
def list_adapters(
    request: Request,
    _caller: Reader,
    kind: Kind | None = None,
    language: Annotated[str | None, Query(max_length=64, description="BCP 47 or ISO 639-3")] = None,
    task: Filter = None,
    backbone: Annotated[str | None, Query(max_length=200, description="its name or fingerprint")] = None,
    label: Annotated[str | None, Query(max_length=200, description="B-LOC as a head has it, or its type, LOC")] = None,
    q: Annotated[str | None, Query(max_length=64, description="how the name begins")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ItemPage[AdapterItem]:
    """With a live version that fits all of what is asked for."""
    server = server_of(request)
    try:
        page = search.search_adapters(
            server.registry,
            kind=kind,
            language=language,
            task=task,
            fingerprint=None if backbone is None else catalog.get_backbone(server.registry, backbone).fingerprint,
            label=label,
            prefix=q,
            limit=limit,
            cursor=cursor,
        )
    except InvalidConfig as error:
        raise InvalidRequest(str(error), field="language") from error
    items = [AdapterItem.model_validate(adapter_fields(item, server.loaded.fingerprint)) for item in page.items]
    return ItemPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/adapters/{name}",
    operation_id="show_adapter",
    summary="One adapter",
    responses=problems("unknown_adapter", "unknown_version", "invalid"),
)
def show_adapter(name: Name, request: Request, _caller: Reader) -> ShownAdapterItem:
    server = server_of(request)
    found = search.show_adapter(server.registry, name)
    return shown_adapter_item(found, catalog.list_defaults(server.registry, name), server.loaded.fingerprint)


@router.get(
    "/resolve",
    operation_id="resolve",
    summary="The version that a reference stands for",
    responses=problems("unknown_adapter", "unknown_version", "unknown_alias", "invalid"),
)
def resolve(
    request: Request,
    _caller: Reader,
    reference: Annotated[str, Query(max_length=140, description="name, name@3 or name@production")],
) -> VersionItem:
    server = server_of(request)
    try:
        parsed = parse_reference(reference)
    except InvalidName as error:
        raise InvalidRequest(str(error), field="reference") from error
    return version_item(catalog.resolve(server.registry, parsed), server.loaded.fingerprint)


@router.get("/backbones", operation_id="list_backbones", summary="Backbones that adapters may be for")
def list_backbones(request: Request, _caller: Reader) -> ItemPage[BackboneItem]:
    server = server_of(request)
    known = catalog.list_backbones(server.registry)
    return ItemPage(items=[backbone_item(item, server.loaded.fingerprint) for item in known], next_cursor=None)
