"""`/v1/uploads`: weights piece by piece, so that a lost connection or a restart costs the last piece alone."""

import re
from datetime import datetime, timedelta
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from madx.manifest import Digest
from registry import uploads
from registry.uploads import Append, UploadLimits
from registry.values import Upload

from ..access import Caller, requires
from ..bodies import body_of
from ..errors import InvalidRequest
from ..idempotency import IdempotencyKey, once
from ..publishing import PIECE_BYTES
from ..responses import problems
from ..schemas import Strict, read_request
from ..state import Server, server_of

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_RANGE = re.compile(r"(?:bytes )?([0-9]{1,18})-([0-9]{1,18})(?:/(?:\*|([0-9]{1,18})))?")
Writer = Annotated[Caller, requires("write")]
ContentRange = Header(
    alias="Content-Range",
    pattern=f"^{_RANGE.pattern}$",
    description="`bytes FIRST-LAST/TOTAL`, with `*` for a total that is not known; counted from 0",
)
_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class UploadRequest(Strict):
    size_bytes: int | None = Field(default=None, ge=0, description="how many bytes will come, where that is known")


_BEGINNING = {
    "requestBody": {"content": {"application/json": {"schema": UploadRequest.model_json_schema()}}},
}


class UploadItem(Strict):
    """`received_bytes` is where to go on; `digest` is there as soon as the upload is `complete`."""

    id: str
    received_bytes: int
    size_bytes: int | None
    complete: bool
    digest: str | None
    expires_at: datetime


@router.post(
    "",
    operation_id="create_upload",
    summary="Begin an upload",
    status_code=201,
    response_model=UploadItem,
    responses=problems(
        "upload_idle",
        "in_progress",
        "too_large",
        "invalid",
        "idempotency_mismatch",
        "too_many_uploads",
        "draining",
        "store_unavailable",
    ),
    openapi_extra=_BEGINNING,
)
async def create_upload(request: Request, caller: Writer, idempotency_key: IdempotencyKey = None) -> Response:
    """Its bytes are kept for `GLOSSA_UPLOAD_TTL_S` after the last piece."""
    server = server_of(request)
    content = await body_of(request).read(server.intake, server.settings.upload_idle_s)
    asked = read_request(content or b"{}", UploadRequest)

    async def answer() -> Response:
        upload = await run_in_threadpool(
            lambda: uploads.open_upload(
                server.registry, actor=caller.actor, limits=_limits(server), size_bytes=asked.size_bytes
            )
        )
        return _answer(upload, status=201, headers={"location": f"/v1/uploads/{upload.id}"})

    return await once(server.registry, request, answer, key=idempotency_key, actor=caller.actor, content=content)


@router.get(
    "/{upload}",
    operation_id="show_upload",
    summary="How far an upload has come",
    response_model=UploadItem,
    responses=problems("unknown_upload", "store_unavailable"),
)
def show_upload(upload: str, request: Request, caller: Writer) -> Response:
    """The `Range` header says the same in bytes; it is absent while there are none."""
    return _answer(uploads.show_upload(server_of(request).registry, upload, actor=caller.actor))


@router.patch(
    "/{upload}",
    operation_id="append_upload",
    summary="Add a piece to an upload",
    status_code=202,
    response_model=UploadItem,
    responses=problems(
        "unknown_upload",
        "upload_idle",
        "upload_busy",
        "too_large",
        "wrong_range",
        "invalid",
        "too_many_uploads",
        "draining",
        "store_unavailable",
    ),
    openapi_extra=_BYTES,
)
async def append_upload(
    upload: str, request: Request, caller: Writer, content_range: Annotated[str, ContentRange]
) -> Response:
    """The piece must begin where the upload goes on. What came of a piece that breaks off is kept."""
    first, length = _range_of(content_range, body_of(request).declared_bytes)
    return _answer(await _append(request, caller, upload, first=first, length=length), status=202)


@router.put(
    "/{upload}",
    operation_id="finish_upload",
    summary="Finish an upload",
    status_code=201,
    response_model=UploadItem,
    responses=problems(
        "unknown_upload",
        "upload_idle",
        "upload_busy",
        "too_large",
        "wrong_range",
        "digest_mismatch",
        "invalid",
        "too_many_uploads",
        "draining",
        "store_unavailable",
    ),
    openapi_extra={"requestBody": {**_BYTES["requestBody"], "required": False}},
)
async def finish_upload(
    upload: str,
    request: Request,
    caller: Writer,
    digest: Annotated[str, Query(pattern="^(sha256:)?[0-9a-f]{64}$", description="sha256 of all the bytes")],
    content_range: Annotated[str | None, ContentRange] = None,
) -> Response:
    """The body is empty, or the last piece. With another digest the upload stays as it was."""
    server = server_of(request)
    body = body_of(request)
    if content_range is not None:
        first, length = _range_of(content_range, body.declared_bytes)
        await _append(request, caller, upload, first=first, length=length)
    elif body.is_expected:
        raise InvalidRequest("a last piece needs a Content-Range", field="Content-Range")
    sha256 = Digest(digest.removeprefix("sha256:"))
    with server.intake.place():
        done = await server.intake.publish(
            lambda: uploads.finish_upload(server.registry, upload, sha256, actor=caller.actor, limits=_limits(server))
        )
    return _answer(done, status=201)


@router.delete(
    "/{upload}",
    operation_id="cancel_upload",
    summary="Give an upload up",
    status_code=204,
    response_class=Response,
    responses=problems("unknown_upload", "upload_busy", "store_unavailable"),
)
def cancel_upload(upload: str, request: Request, caller: Writer) -> Response:
    uploads.cancel_upload(server_of(request).registry, upload, actor=caller.actor)
    return Response(status_code=204)


def _limits(server: Server) -> UploadLimits:
    settings = server.settings
    return UploadLimits(
        size_bytes=settings.max_upload_bytes,
        life=timedelta(seconds=settings.upload_ttl_s),
        per_actor=settings.uploads_per_key,
    )


def _range_of(text: str, declared_bytes: int | None) -> tuple[int, int]:
    """First byte and number of bytes. Raises `InvalidRequest` where the header says nothing, or not what comes."""
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2])) if match else (0, -1)
    total = int(match[3]) if match and match[3] else None
    if last < first or (total is not None and last >= total):
        raise InvalidRequest(
            "Content-Range is `bytes FIRST-LAST/TOTAL`, as in bytes 0-1048575/*", field="Content-Range"
        )
    length = last - first + 1
    if declared_bytes is not None and declared_bytes != length:
        raise InvalidRequest(
            f"Content-Range names {length} bytes, the body has {declared_bytes}", field="Content-Range"
        )
    return first, length


async def _append(request: Request, caller: Caller, upload: str, *, first: int, length: int) -> Upload:
    server = server_of(request)
    body = body_of(request)
    with server.intake.place():
        body.allow(server.settings.max_upload_bytes)
        append = await server.intake.write(
            lambda: uploads.begin_append(
                server.registry, upload, start=first, actor=caller.actor, limits=_limits(server)
            )
        )
        try:
            received_bytes = await _receive(request, server, append, length)
        finally:
            state = await server.intake.write(append.close)
    if received_bytes != length:
        raise InvalidRequest(
            f"Content-Range names {length} bytes, the body had {received_bytes}; what came is kept",
            field="Content-Range",
        )
    return state


async def _receive(request: Request, server: Server, append: Append, length: int) -> int:
    """How many bytes came. Raises `InvalidRequest` as soon as there are more than `length`; those are not kept."""
    received_bytes = 0
    piece: list[bytes] = []
    waiting_bytes = 0
    try:
        async for chunk in body_of(request).chunks(server.intake, server.settings.upload_idle_s):
            received_bytes += len(chunk)
            if received_bytes > length:
                raise InvalidRequest(
                    f"the body has more than the {length} bytes that Content-Range names", field="Content-Range"
                )
            piece.append(chunk)
            waiting_bytes += len(chunk)
            if waiting_bytes >= PIECE_BYTES:
                whole, piece, waiting_bytes = piece, [], 0
                await server.intake.write(_write, append, whole)
    finally:
        await server.intake.write(_write, append, piece)
    return received_bytes


def _write(append: Append, piece: list[bytes]) -> None:
    for chunk in piece:
        append.write(chunk)


def _answer(upload: Upload, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    item = UploadItem(
        id=upload.id,
        received_bytes=upload.received_bytes,
        size_bytes=upload.size_bytes,
        complete=upload.complete,
        digest=upload.digest,
        expires_at=upload.expires_at,
    )
    given = {} if headers is None else headers
    if upload.received_bytes:
        given = given | {"range": f"0-{upload.received_bytes - 1}"}
    return Response(
        orjson.dumps(item.model_dump(mode="json")), status_code=status, media_type="application/json", headers=given
    )
