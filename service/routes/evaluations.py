"""`/v1/adapters/{name}/versions/{version}/evaluations`: how good a version is, on which data. Scores are only added."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from registry.evaluations import Detail, Evaluation, Measurement, list_evaluations, record_evaluation

from ..access import Caller, requires
from ..idempotency import IdempotencyKey, once
from ..items import Cursor, ItemPage, Limit, Name, Number
from ..responses import problems
from ..schemas import Strict
from ..sent import SENT_CODES, described, sent
from ..state import server_of

router = APIRouter(prefix="/v1/adapters/{name}/versions/{version}/evaluations", tags=["evaluations"])
_UNKNOWN = ("unknown_adapter", "unknown_version", "invalid")


class EvaluationRequest(Strict):
    """Texts are printable, numbers finite; `detail` holds what else was counted, without lists or objects."""

    metric: str = Field(max_length=64, description="as in entity-f1")
    score: float
    dataset: str = Field(max_length=200)
    split: str = Field(max_length=200, description="as in test")
    dataset_digest: str | None = Field(default=None, max_length=64, description="sha256 of the data set's file")
    language: str | None = Field(default=None, max_length=64, description="of the data; BCP 47 or ISO 639-3")
    language_adapter: str | None = Field(
        default=None, max_length=140, description="the version that read it, as in sw@3; null for none"
    )
    detail: dict[str, Detail] = Field(default_factory=dict, max_length=32)


class EvaluationItem(BaseModel):
    """One score. `reference` is the version that was scored, `actor` who reported it."""

    id: int
    reference: str
    metric: str
    score: float
    dataset: str
    split: str
    dataset_digest: str | None
    language: str | None
    language_adapter: str | None
    detail: dict[str, Detail]
    actor: str
    created_at: datetime


@router.get(
    "",
    operation_id="list_evaluations",
    summary="A version's scores, newest first",
    responses=problems(*_UNKNOWN),
)
def evaluations(
    name: Name,
    version: Number,
    request: Request,
    _caller: Annotated[Caller, requires("read")],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ItemPage[EvaluationItem]:
    page = list_evaluations(server_of(request).registry, name, version, cursor=cursor, limit=limit)
    return ItemPage(items=[_item(found) for found in page.items], next_cursor=page.next_cursor)


@router.post(
    "",
    operation_id="add_evaluation",
    summary="Add a score to a version",
    status_code=201,
    response_model=EvaluationItem,
    responses=problems(*_UNKNOWN, "in_progress", "idempotency_mismatch", *SENT_CODES),
    openapi_extra=described(EvaluationRequest),
)
async def add_evaluation(
    name: Name,
    version: Number,
    request: Request,
    caller: Annotated[Caller, requires("write")],
    asked: Annotated[EvaluationRequest, sent(EvaluationRequest)],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    caller.check_name(name)
    registry = server_of(request).registry
    measured = Measurement(**asked.model_dump())
    content = asked.model_dump_json().encode()

    async def answer() -> Response:
        added = await run_in_threadpool(
            lambda: record_evaluation(registry, name, version, measured, actor=caller.actor)
        )
        return Response(_item(added).model_dump_json(), status_code=201, media_type="application/json")

    return await once(registry, request, answer, key=idempotency_key, actor=caller.actor, content=content)


def _item(found: Evaluation) -> EvaluationItem:
    measured = found.measured
    return EvaluationItem(
        id=found.id,
        reference=found.reference,
        metric=measured.metric,
        score=measured.score,
        dataset=measured.dataset,
        split=measured.split,
        dataset_digest=measured.dataset_digest,
        language=measured.language,
        language_adapter=measured.language_adapter,
        detail=dict(measured.detail),
        actor=found.actor,
        created_at=found.created_at,
    )
