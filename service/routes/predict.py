"""`POST /v1/predict/{task}`: the request's way through the server, from the body to the reply."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..access import Caller, requires
from ..engine import Engine
from ..errors import DeadlineExceeded, InvalidRequest
from ..notes import Ran, note_of
from ..preparing import prepare, reply_of
from ..resolve import Stack
from ..responses import problems
from ..schemas import FillMaskRequest, NerRequest
from ..state import server_of
from ..tasks import reader_of
from ..work import AskedRow, Done

router = APIRouter(prefix="/v1", tags=["predict"])


def _described(*shapes: type[BaseModel]) -> dict[str, Any]:
    """What is read by hand, for the API's description; the task decides which of `shapes` the body has."""
    schemas = [shape.model_json_schema() for shape in shapes]
    return {
        "parameters": [
            {
                "name": "language",
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                "description": "where the body names no language",
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": schemas}}}},
    }


@router.post(
    "/predict/{task}",
    operation_id="predict",
    summary="Answer a task",
    responses=problems(
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
    ),
    openapi_extra=_described(NerRequest, FillMaskRequest),
)
async def predict(task: str, request: Request, caller: Annotated[Caller, requires("predict")]) -> Response:
    """`inputs` is a text or a list of texts; a list is answered by a list. The language may come as `?language=`."""
    server = server_of(request)
    started_s = time.monotonic()
    deadline_s = started_s + server.settings.deadline_s
    read = reader_of(task)
    language = _query_language(request)
    try:
        async with asyncio.timeout(server.settings.deadline_s):
            content = await request.body()  # of bounded length: `bodies` sees to it
            prepared = await prepare(read, content, language, server)
            prepared_s = time.monotonic()
            key = "" if caller.key is None else caller.key.id
            done = await run_rows(request, server.engine, prepared.rows, key=key, deadline_s=deadline_s)
            reply = await reply_of(prepared, done.answers, server)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"not answered within {server.settings.deadline_s:g} s; send less at once, or try again later"
        ) from error
    note_of(request).ran = _noted(prepared.stacks, done, prepared_s - started_s)
    headers = _versions(prepared.stacks) | _timings(done, started_s, prepared_s)
    return Response(reply, media_type="application/json", headers=headers)


def _query_language(request: Request) -> str | None:
    unknown = [name for name in request.query_params if name != "language"]
    if unknown:
        raise InvalidRequest(f"{unknown[0]} is not known in the address; only language is", field=unknown[0])
    return request.query_params.get("language")


async def run_rows(request: Request, engine: Engine, rows: Sequence[AskedRow], *, key: str, deadline_s: float) -> Done:
    """The engine's answer. If the client leaves first, or the deadline passes, the rows leave the queue."""
    answer = engine.submit(rows, key=key, deadline_s=deadline_s)
    gone = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()


async def _left(request: Request) -> None:
    """Ends when the client has left. The body has been read, so nothing else can come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _noted(stacks: Sequence[Stack], done: Done, tokenization_s: float) -> Ran:
    versions = (version for stack in stacks for version in (stack.task, stack.language))
    return Ran(
        adapters=tuple(dict.fromkeys(version.reference for version in versions if version is not None)),
        tokens=done.tokens,
        tokenization_s=tokenization_s,
        queue_s=done.queue_s,
        inference_s=done.inference_s,
    )


def _versions(stacks: Sequence[Stack]) -> dict[str, str]:
    """Every version that ran, in the order of the texts, each once."""
    named = {
        "x-glossa-adapter": [stack.task for stack in stacks],
        "x-glossa-language-adapter": [stack.language for stack in stacks],
    }
    headers: dict[str, str] = {}
    for name, versions in named.items():
        references = dict.fromkeys(version.reference for version in versions if version is not None)
        if references:
            headers[name] = ", ".join(references)
    return headers


def _timings(done: Done, started_s: float, prepared_s: float) -> dict[str, str]:
    """Milliseconds, under the names of text-embeddings-inference."""
    return {
        "x-total-time": f"{(time.monotonic() - started_s) * 1e3:.2f}",
        "x-tokenization-time": f"{(prepared_s - started_s) * 1e3:.2f}",
        "x-queue-time": f"{done.queue_s * 1e3:.2f}",
        "x-inference-time": f"{done.inference_s * 1e3:.2f}",
        "x-compute-tokens": str(done.tokens),
    }
