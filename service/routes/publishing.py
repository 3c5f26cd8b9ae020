"""`POST /v1/adapters/{name}/versions`: a new version, with its weights or from a finished upload."""

from typing import Annotated

import orjson
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from registry.publish import Prepared, prepare
from registry.values import PublishedVersion

from ..access import Caller, requires
from ..bodies import body_of
from ..idempotency import IdempotencyKey, once
from ..multipart import Form
from ..publishing import Publisher, read_manifest
from ..responses import problems
from ..state import Server, server_of

router = APIRouter(prefix="/v1", tags=["publishing"])

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest"],
                    "additionalProperties": False,
                    "properties": {
                        "manifest": {"type": "string", "description": "the manifest, byte for byte; comes first"},
                        "weights": {"type": "string", "format": "binary", "description": "the safetensors file"},
                        "upload": {"type": "string", "description": "instead of weights: a finished upload's id"},
                    },
                },
                "encoding": {
                    "manifest": {"contentType": "application/json"},
                    "weights": {"contentType": "application/octet-stream"},
                },
            }
        },
    }
}


class PublishedItem(BaseModel):
    """`digest` is that of the manifest; `created` is false where the version was there already."""

    name: str
    version: int
    digest: str
    reference: str
    created: bool


@router.post(
    "/adapters/{name}/versions",
    operation_id="publish_version",
    summary="Publish a version",
    status_code=201,
    response_model=PublishedItem,
    responses={
        200: {"model": PublishedItem, "description": "The version was there already"},
        **problems(
            "unknown_backbone",
            "unknown_upload",
            "upload_idle",
            "conflict",
            "in_progress",
            "upload_busy",
            "upload_incomplete",
            "too_large",
            "idempotency_mismatch",
            "invalid",
            "invalid_manifest",
            "invalid_name",
            "invalid_weights",
            "too_many_uploads",
            "blob_corrupt",
            "draining",
            "gate_unavailable",
            "lease_lost",
            "store_unavailable",
        ),
    },
    openapi_extra=_FORM,
)
async def publish_version(
    name: str,
    request: Request,
    caller: Annotated[Caller, requires("write")],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """`manifest` comes first, then `weights`, or `upload` with the id of a finished upload. Weights are checked while
    they come in: the header as soon as it is there, the rest at the end. The same manifest under the same name gives
    the version that it has already.
    """
    caller.check_name(name)
    server = server_of(request)
    with server.intake.place():
        body = body_of(request)
        body.allow(server.settings.max_upload_bytes)
        chunks = body.chunks(server.intake, server.settings.upload_idle_s)
        form = Form(request.headers.get("content-type", ""), chunks)
        manifest = await read_manifest(form)
        prepared = await server.intake.write(_prepare, server, manifest, name)

        async def answer() -> Response:
            publisher = Publisher(registry=server.registry, intake=server.intake, actor=caller.actor)
            return _answer(await publisher.publish(form, prepared))

        return await once(server.registry, request, answer, key=idempotency_key, actor=caller.actor, content=manifest)


def _prepare(server: Server, manifest: bytes, name: str) -> Prepared:
    return prepare(server.registry, manifest, name=name)


def _answer(published: PublishedVersion) -> Response:
    version = published.version
    item = PublishedItem(
        name=version.name,
        version=version.number,
        digest=version.manifest_digest,
        reference=version.reference,
        created=published.created,
    )
    return Response(
        orjson.dumps(item.model_dump()),
        status_code=201 if published.created else 200,
        media_type="application/json",
        headers={"location": f"/v1/adapters/{version.name}/versions/{version.number}"},
    )
