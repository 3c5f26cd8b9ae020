"""`/v1/adapters/{name}/versions`: an adapter's versions, their bytes, where they come from; deleting and restoring."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from registry import aliases, search, versions
from registry.errors import WeightsCollected
from registry.lineage import lineage_of
from registry.values import Version

from ..access import Caller, requires
from ..conditions import is_unchanged, part_of, quoted
from ..idempotency import IdempotencyKey, once
from ..items import (
    Cursor,
    ItemPage,
    Limit,
    LineageItem,
    ListedVersionItem,
    Name,
    Number,
    ShownVersionItem,
    VersionItem,
    lineage_item,
    listed_version_item,
    summary_of,
    version_fields,
    version_item,
)
from ..responses import problems
from ..state import Server, server_of

router = APIRouter(prefix="/v1/adapters/{name}/versions", tags=["versions"])
Reader = Annotated[Caller, requires("read")]
Writer = Annotated[Caller, requires("write")]

Responses = dict[int | str, dict[str, Any]]

_FOR_EVER = "private, max-age=31536000, immutable"
_UNKNOWN = ("unknown_adapter", "unknown_version", "invalid")
_JSON = {"application/json": {"schema": {"type": "object"}}}
_UNCHANGED: Responses = {304: {"description": "What If-None-Match names is what is there"}}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_PARTIAL: Responses = {206: {"description": "The part that Range names", "content": _BINARY}}
IfNoneMatch = Annotated[str | None, Header()]


@router.get(
    "", operation_id="list_versions", summary="An adapter's versions, newest first", responses=problems(*_UNKNOWN)
)
def list_versions(
    name: Name,
    request: Request,
    _caller: Reader,
    include_deleted: Annotated[bool, Query(description="those too that were deleted")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ItemPage[ListedVersionItem]:
    server = server_of(request)
    page = search.list_versions(server.registry, name, include_deleted=include_deleted, limit=limit, cursor=cursor)
    pointing = aliases.list_aliases(server.registry, name)
    items = [listed_version_item(item, pointing, server.loaded.fingerprint) for item in page.items]
    return ItemPage(items=items, next_cursor=page.next_cursor)


@router.get(
    "/{version}",
    operation_id="show_version",
    summary="One version, deleted or not, with its manifest",
    responses=problems(*_UNKNOWN),
)
def show_version(
    name: Name, version: Number, request: Request, response: Response, _caller: Reader
) -> ShownVersionItem:
    server = server_of(request)
    found = versions.get_version(server.registry, name, version)
    response.headers["etag"] = quoted(found.manifest_digest)
    fields = version_fields(summary_of(found), server.loaded.fingerprint)
    return ShownVersionItem.model_validate(fields | {"manifest": json.loads(found.manifest_bytes)})


@router.get(
    "/{version}/manifest",
    operation_id="get_manifest",
    summary="A version's manifest, byte for byte",
    response_class=Response,
    responses={
        200: {"content": _JSON},
        **_UNCHANGED,
        **problems(*_UNKNOWN),
    },
)
def get_manifest(
    name: Name, version: Number, request: Request, _caller: Reader, if_none_match: IfNoneMatch = None
) -> Response:
    found = versions.get_version(server_of(request).registry, name, version)
    headers = _headers(found.manifest_digest)
    if is_unchanged(if_none_match, found.manifest_digest):
        return Response(status_code=304, headers=headers)
    return Response(found.manifest_bytes, media_type="application/json", headers=headers)


@router.get(
    "/{version}/weights",
    operation_id="download_weights",
    summary="A version's weights, whole or a range of them",
    response_class=Response,
    responses={
        200: {"content": _BINARY},
        **_PARTIAL,
        **_UNCHANGED,
        **problems(*_UNKNOWN, "weights_collected", "wrong_range", "unknown_blob", "store_unavailable"),
    },
)
async def download_weights(
    name: Name,
    version: Number,
    request: Request,
    _caller: Reader,
    if_none_match: IfNoneMatch = None,
    range_: Annotated[str | None, Header(alias="Range", description="one range: bytes=FIRST-LAST")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """The tag is the sha256 of the whole file. A download that breaks off goes on with `Range` and `If-Range`."""
    server = server_of(request)
    found = await run_in_threadpool(_with_weights, server, name, version)
    headers = _weights_headers(found)
    if is_unchanged(if_none_match, found.weights_digest):
        return Response(status_code=304, headers=headers)
    part = part_of(range_, if_range, tag=found.weights_digest, size_bytes=found.size_bytes)
    if not part.is_whole:
        headers["content-range"] = f"bytes {part.start}-{part.start + part.length - 1}/{found.size_bytes}"
    return await server.downloads.answer(server.registry.store, found.weights_digest, part, headers=headers)


@router.head(
    "/{version}/weights",
    operation_id="head_weights",
    summary="How large a version's weights are, and their digest",
    response_class=Response,
    responses=problems(*_UNKNOWN, "weights_collected"),
)
def head_weights(name: Name, version: Number, request: Request, _caller: Reader) -> Response:
    found = _with_weights(server_of(request), name, version)
    headers = _weights_headers(found) | {"content-length": str(found.size_bytes)}
    return Response(media_type="application/octet-stream", headers=headers)


@router.get(
    "/{version}/lineage",
    operation_id="show_lineage",
    summary="What a version was made from, and what from it",
    responses=problems(*_UNKNOWN),
)
def show_lineage(name: Name, version: Number, request: Request, _caller: Reader) -> LineageItem:
    return lineage_item(lineage_of(server_of(request).registry, name, version))


@router.delete(
    "/{version}",
    operation_id="delete_version",
    summary="Delete a version; it can be restored until its weights are collected",
    status_code=204,
    response_class=Response,
    responses=problems(*_UNKNOWN, "conflict"),
)
def delete_version(name: Name, version: Number, request: Request, caller: Writer) -> None:
    """Refused while an alias or a default names it."""
    caller.check_name(name)
    versions.delete_version(server_of(request).registry, name, version, actor=caller.actor)


@router.post(
    "/{version}/restore",
    operation_id="restore_version",
    summary="Bring a deleted version back",
    response_model=VersionItem,
    responses=problems(*_UNKNOWN, "in_progress", "weights_collected", "idempotency_mismatch"),
)
async def restore_version(
    name: Name, version: Number, request: Request, caller: Writer, idempotency_key: IdempotencyKey = None
) -> Response:
    """One that is not deleted stays as it is."""
    caller.check_name(name)
    server = server_of(request)

    async def answer() -> Response:
        found = await run_in_threadpool(
            lambda: versions.restore_version(server.registry, name, version, actor=caller.actor)
        )
        item = version_item(found, server.loaded.fingerprint)
        return Response(item.model_dump_json(), media_type="application/json")

    return await once(server.registry, request, answer, key=idempotency_key, actor=caller.actor)


def _with_weights(server: Server, name: str, number: int) -> Version:
    found = versions.get_version(server.registry, name, number)
    if found.purged_at is not None:
        raise WeightsCollected(f"{found.reference} was deleted and its weights have been collected")
    return found


def _weights_headers(version: Version) -> dict[str, str]:
    file = f'attachment; filename="{version.name}-{version.number}.safetensors"'
    return _headers(version.weights_digest) | {"accept-ranges": "bytes", "content-disposition": file}


def _headers(digest: str) -> dict[str, str]:
    return {"etag": quoted(digest), "cache-control": _FOR_EVER}
