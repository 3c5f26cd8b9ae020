"""Scores of versions: what is kept, what is refused, and who reported it."""

import math
from typing import Any

import pytest

from registry import versions
from registry.audit import list_audit
from registry.errors import InvalidCursor, InvalidEvaluation, UnknownAdapter, UnknownVersion
from registry.evaluations import Evaluation, Measurement, list_evaluations, record_evaluation
from registry.registry import Registry
from registry.values import Page
from tests.support.made_adapters import publish_made

DIGEST = "ab" * 32


def measured(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {"metric": "entity-f1", "score": 0.5, "dataset": "made-ner-sw", "split": "test"}
    return Measurement(**(fields | changes))


def scores(page: Page[Evaluation]) -> list[float]:
    return [item.measured.score for item in page.items]


def test_all_that_was_measured_comes_back(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    detail = {"precision": 0.25, "sentences": 12, "note": "no adapter for pcm: en's", "dev": False, "seed": None}
    whole = measured(dataset_digest=DIGEST, language="swa", language_adapter="sw@3", detail=detail)
    added = record_evaluation(registry, "ner", 1, whole, actor="amina")
    assert added.measured == measured(dataset_digest=DIGEST, language="sw", language_adapter="sw@3", detail=detail)
    assert (added.reference, added.actor) == ("ner@1", "amina")
    least = record_evaluation(registry, "ner", 1, measured(score=-1e300))
    assert list_evaluations(registry, "ner", 1).items == (least, added)


def test_the_audit_has_it(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    record_evaluation(registry, "ner", 1, measured(), actor="amina")
    newest = list_audit(registry, subject="ner@1").items[0]
    assert (newest.actor, newest.action) == ("amina", "evaluation.added")
    assert newest.detail == {"metric": "entity-f1", "dataset": "made-ner-sw"}


def test_pages_stay_right_while_scores_are_added(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    publish_made(registry, "ner", "task", key="ner", seed=1)
    for score in range(5):
        record_evaluation(registry, "ner", 1, measured(score=score))
        record_evaluation(registry, "ner", 2, measured(score=10 + score))
    first = list_evaluations(registry, "ner", 1, limit=2)
    record_evaluation(registry, "ner", 1, measured(score=5))
    second = list_evaluations(registry, "ner", 1, limit=2, cursor=first.next_cursor)
    third = list_evaluations(registry, "ner", 1, limit=2, cursor=second.next_cursor)
    assert [scores(page) for page in (first, second, third)] == [[4, 3], [2, 1], [0]]
    assert third.next_cursor is None
    for other in ("ner@2", "x"):
        with pytest.raises(InvalidCursor):
            list_evaluations(registry, "ner", 2, cursor=first.next_cursor if other == "ner@2" else other)


def test_a_deleted_version_keeps_its_scores_and_takes_no_more(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    record_evaluation(registry, "ner", 1, measured())
    versions.delete_version(registry, "ner", 1)
    assert scores(list_evaluations(registry, "ner", 1)) == [0.5]
    with pytest.raises(UnknownVersion):
        record_evaluation(registry, "ner", 1, measured())
    assert scores(list_evaluations(registry, "ner", 1)) == [0.5]


def test_versions_that_are_not_there(registry: Registry) -> None:
    publish_made(registry, "ner", "task", key="ner")
    for call in (record_evaluation, lambda *args: list_evaluations(*args[:3])):
        with pytest.raises(UnknownAdapter):
            call(registry, "nobody", 1, measured())
        with pytest.raises(UnknownVersion):
            call(registry, "ner", 2, measured())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metric", ""),
        ("metric", "Entity F1"),
        ("metric", "f" * 65),
        ("score", math.nan),
        ("score", -math.inf),
        ("dataset", ""),
        ("dataset", "a\x00b"),
        ("dataset", "d" * 201),
        ("split", "te\nst"),
        ("split", "\ud800"),
        ("dataset_digest", "AB" * 32),
        ("language", "not a language"),
        ("language", "sw-x-" + "a" * 100),
        ("language_adapter", "sw"),
        ("language_adapter", "sw@production"),
        ("language_adapter", "SW@1"),
        ("detail", {str(index): 1 for index in range(33)}),
        ("detail", {"": 1}),
        ("detail", {"k" * 65: 1}),
    ],
)
def test_what_says_nothing(field: str, value: object) -> None:
    with pytest.raises(InvalidEvaluation) as caught:
        measured(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("value", [math.inf, 1 << 60, "\x00", "x" * 201, [1], {"a": 1}])
def test_details_are_plain(value: object) -> None:
    with pytest.raises(InvalidEvaluation) as caught:
        measured(detail={"fine": 1, "wrong": value})
    assert caught.value.field == "detail.wrong"
