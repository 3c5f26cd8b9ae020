"""`POST /v1/predict/{task}`: the request's way through the server, from the body to the reply or the lines of one."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from madx.errors import GlossaError

from .. import ndjson
from ..access import Caller, requires
from ..bodies import body_of
from ..notes import note_of
from ..predicting import DEADLINE_HEADER, Answered, Call, answer, call_of, versions_of
from ..responses import problems
from ..room import Claim
from ..schemas import FillMaskRequest, NerRequest
from ..streaming import Lines, Stream
from ..tasks import Prepared
from ..work import Done

router = APIRouter(prefix="/v1", tags=["predict"])
_Result = TypeVar("_Result")

_LINE = {
    "type": "object",
    "description": "A line for each text, in their order: its output or its error",
    "properties": {
        "index": {"type": "integer", "minimum": 0},
        "output": {},
        "adapter": {"type": "string", "description": "the task adapter's version that ran"},
        "language_adapter": {"type": "string", "description": "the language adapter's version that ran"},
        "error": {"$ref": "#/components/schemas/Problem"},
    },
    "required": ["index"],
}


def _described(*shapes: type[BaseModel]) -> dict[str, Any]:
    """What is read by hand, for the API's description; the task decides which of `shapes` the body has."""
    schema = {"anyOf": [shape.model_json_schema() for shape in shapes]}
    line = schema | {"description": "One such body a line, each with one text; lines are read as they are answered"}
    return {
        "parameters": [
            _parameter("language", "query", "string", "where the body names no language"),
            _parameter(DEADLINE_HEADER, "header", "integer", "milliseconds in which the answer is of use", minimum=1),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema}, ndjson.MEDIA_TYPE: {"schema": line}},
        },
    }


def _parameter(name: str, place: str, kind: str, description: str, **limits: int) -> dict[str, Any]:
    schema = {"type": kind, **limits}
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description}


@router.post(
    "/predict/{task}",
    operation_id="predict",
    summary="Answer a task",
    responses={
        200: {"content": {ndjson.MEDIA_TYPE: {"schema": _LINE}}},
        **problems(
            "unknown_adapter",
            "unknown_alias",
            "unknown_language",
            "unknown_task",
            "unknown_version",
            "ambiguous",
            "no_masked_lm_head",
            "wrong_backbone",
            "too_large",
            "invalid",
            "language_missing",
            "adapter_load_failed",
            "queue_full",
            "draining",
            "not_ready",
            "deadline_exceeded",
            "upload_idle",
        ),
    },
    openapi_extra=_described(NerRequest, FillMaskRequest),
)
async def predict(task: str, request: Request, caller: Annotated[Caller, requires("predict")]) -> Response:
    """`inputs` is a text or a list of texts; a list is answered by a list, or with `Accept: application/x-ndjson` by
    a line for each text as it is done. The language may come as `?language=`.
    """
    call = call_of(task, request, caller)
    if ndjson.is_asked_for(request.headers.get("content-type", "")):
        body_of(request).allow(call.server.settings.max_upload_bytes)
        return _stream(request, call, _sent_lines(request, call))
    if ndjson.is_asked_for(request.headers.get("accept", "")):
        return _stream(request, call, _lines_of_body(request, call))
    started_s = time.monotonic()
    answered = await _answer_whole(request, call)
    note_of(request).ran = answered.ran
    headers = {f"x-glossa-{name.replace('_', '-')}": found for name, found in versions_of(answered.stacks).items()}
    return Response(answered.reply, media_type="application/json", headers=headers | _timings(answered, started_s))


def _stream(request: Request, call: Call, lines: Lines) -> Stream:
    return Stream(call, lines, left=lambda: _left(request), note=note_of(request))


async def _sent_lines(request: Request, call: Call) -> AsyncIterator[bytes | GlossaError]:
    """As they come in."""
    settings = call.server.settings
    pieces = body_of(request).chunks(call.server.intake, settings.upload_idle_s)
    async for line in ndjson.lines_of(pieces, longest_bytes=settings.max_body_bytes):
        yield line


async def _lines_of_body(request: Request, call: Call) -> AsyncIterator[bytes | GlossaError]:
    """One for each text of a body that is JSON as a whole."""
    settings = call.server.settings
    content = await body_of(request).read(call.server.intake, settings.upload_idle_s)
    split = partial(ndjson.split, content, max_inputs=settings.max_inputs, most_bytes=settings.max_body_bytes)
    claim = Claim(size_bytes=len(content), key=call.key, waits=False)
    for line in await call.server.pools.prepare(claim, split):
        yield line


async def _answer_whole(request: Request, call: Call) -> Answered:
    """If the client leaves first, nothing more is done for it."""
    has_come = asyncio.Event()

    async def content() -> bytes:
        body = await request.body()  # of bounded length: `bodies` sees to it
        has_come.set()
        return body

    async def run(prepared: Prepared, deadline_s: float) -> Done:
        return await call.server.engine.submit(prepared.rows, key=call.key, deadline_s=deadline_s)

    async def left() -> None:
        await has_come.wait()
        await _left(request)

    return await unless_left(answer(call, content, run), left())


async def unless_left(work: Coroutine[Any, Any, _Result], left: Coroutine[Any, Any, object]) -> _Result:
    """What `work` gives. Raises `ClientDisconnect`, and cancels it, where `left` ends first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(left)
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    """Ends when the client has left. The body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _timings(answered: Answered, started_s: float) -> dict[str, str]:
    """Milliseconds, under the names of text-embeddings-inference."""
    ran = answered.ran
    return {
        "x-total-time": f"{(time.monotonic() - started_s) * 1e3:.2f}",
        "x-tokenization-time": f"{ran.tokenization_s * 1e3:.2f}",
        "x-queue-time": f"{ran.queue_s * 1e3:.2f}",
        "x-inference-time": f"{ran.inference_s * 1e3:.2f}",
        "x-compute-tokens": str(ran.tokens),
    }
