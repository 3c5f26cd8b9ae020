"""How good versions are: scores on data sets, from `glossa evaluate` or over HTTP. A score is added, never changed."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import select

from madx.errors import InvalidConfig
from madx.manifest import canonical_language, is_digest

from . import journal
from .errors import InvalidEvaluation, InvalidName
from .models import EvaluationRow
from .pages import page_of, page_size, position_of
from .references import AdapterRef, parse_reference
from .registry import Registry
from .selection import find_adapter, find_row, find_version
from .values import Page

Detail = str | int | float | bool | None

_METRIC = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LONGEST_NAME = 200
_LONGEST_KEY = 64
_MOST_DETAILS = 32
_INTEGERS = 1 << 53  # beyond, readers of JSON disagree


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One score on one data set. `language_adapter` names the exact version that read it, if one did: `sw@3`.

    `dataset_digest` is the sha256 of the file; `detail` holds what else was counted. Raises `InvalidEvaluation`.
    """

    metric: str
    score: float
    dataset: str
    split: str
    dataset_digest: str | None = None
    language: str | None = None
    language_adapter: str | None = None
    detail: Mapping[str, Detail] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if _METRIC.fullmatch(self.metric) is None:
            raise InvalidEvaluation("a metric is named like a task: entity-f1, accuracy", field="metric")
        if not math.isfinite(self.score):
            raise InvalidEvaluation("a score is a finite number", field="score")
        for name, text in (("dataset", self.dataset), ("split", self.split)):
            if not _is_text(text, _LONGEST_NAME):
                raise InvalidEvaluation(f"{name} has 1 to {_LONGEST_NAME} printable characters", field=name)
        if self.dataset_digest is not None and not is_digest(self.dataset_digest):
            raise InvalidEvaluation("a digest is a sha256 of 64 lower-case hexadecimal digits", field="dataset_digest")
        if self.language is not None:
            _check_language(self.language)
        if self.language_adapter is not None:
            _check_exact(self.language_adapter)
        _check_detail(self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A measurement of the version `reference`, who reported it and when. `id` ascends."""

    id: int
    reference: str
    measured: Measurement
    actor: str
    created_at: datetime


def record_evaluation(
    registry: Registry, name: str, number: int, measured: Measurement, *, actor: str = journal.LOCAL_ACTOR
) -> Evaluation:
    """Raises `UnknownAdapter`, and `UnknownVersion` also for a deleted version."""
    with registry.database.session() as session:
        version = find_version(session, AdapterRef(name=name, number=number), None)
        row = EvaluationRow(
            adapter=name,
            number=number,
            language=None if measured.language is None else canonical_language(measured.language),
            language_adapter=measured.language_adapter,
            dataset=measured.dataset,
            split=measured.split,
            dataset_digest=measured.dataset_digest,
            metric=measured.metric,
            score=measured.score,
            detail=dict(measured.detail),
            actor=actor,
            created_at=datetime.now(UTC),
        )
        session.add(row)
        session.flush()
        journal.record(
            session,
            actor=actor,
            action="evaluation.added",
            subject=version.reference,
            metric=measured.metric,
            dataset=measured.dataset,
        )
        return _evaluation_of(row)


def list_evaluations(
    registry: Registry, name: str, number: int, *, cursor: str | None = None, limit: int = 50
) -> Page[Evaluation]:
    """Newest first, of a version that may be deleted. Raises `UnknownAdapter`, `UnknownVersion` or `InvalidCursor`."""
    filters = ("evaluations", name, number)
    query = select(EvaluationRow).where(EvaluationRow.adapter == name, EvaluationRow.number == number)
    if cursor is not None:
        query = query.where(EvaluationRow.id < position_of(cursor, int, *filters))
    size = page_size(limit)
    with registry.database.reading() as session:
        find_adapter(session, name)
        find_row(session, name, number)
        rows = session.scalars(query.order_by(EvaluationRow.id.desc()).limit(size + 1))
        found = [_evaluation_of(row) for row in rows]
    return page_of(found, size, lambda evaluation: evaluation.id, *filters)


def _evaluation_of(row: EvaluationRow) -> Evaluation:
    return Evaluation(
        id=row.id,
        reference=f"{row.adapter}@{row.number}",
        measured=Measurement(
            metric=row.metric,
            score=row.score,
            dataset=row.dataset,
            split=row.split,
            dataset_digest=row.dataset_digest,
            language=row.language,
            language_adapter=row.language_adapter,
            detail=row.detail,
        ),
        actor=row.actor,
        created_at=row.created_at,
    )


def _is_text(text: str, longest: int) -> bool:
    return 1 <= len(text) <= longest and text.isprintable()


def _check_language(language: str) -> None:
    try:
        canonical = canonical_language(language)
    except InvalidConfig as error:
        raise InvalidEvaluation(str(error), field="language") from error
    if len(canonical) > _LONGEST_KEY:
        raise InvalidEvaluation(f"a language has at most {_LONGEST_KEY} characters", field="language")


def _check_exact(reference: str) -> None:
    try:
        number = parse_reference(reference).number
    except InvalidName as error:
        raise InvalidEvaluation(str(error), field="language_adapter") from error
    if number is None:
        raise InvalidEvaluation(
            f"name the exact version that ran, as in {reference.partition('@')[0]}@3", field="language_adapter"
        )


def _check_detail(detail: Mapping[str, Detail]) -> None:
    if len(detail) > _MOST_DETAILS or not all(_is_text(name, _LONGEST_KEY) for name in detail):
        raise InvalidEvaluation(
            f"detail has at most {_MOST_DETAILS} entries, named by 1 to {_LONGEST_KEY} printable characters",
            field="detail",
        )
    for name, value in detail.items():
        if not _is_plain(value):
            raise InvalidEvaluation(
                f"{name} must be null, true, false, a finite number below 2^53, or a text of up to {_LONGEST_NAME} "
                "printable characters",
                field=f"detail.{name}",
            )


def _is_plain(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return abs(value) <= _INTEGERS
        case float():
            return math.isfinite(value)
        case str():
            return value == "" or _is_text(value, _LONGEST_NAME)
        case _:
            return False
