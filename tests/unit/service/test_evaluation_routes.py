"""Scores over HTTP: added, listed page by page, refused with the field that is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry.evaluations import list_evaluations
from tests.support.served import Home

ADDRESS = "/v1/adapters/ner/versions/1/evaluations"
SCORE: dict[str, Any] = {"metric": "entity-f1", "score": 0.75, "dataset": "made-ner-sw", "split": "test"}


@pytest.fixture
def served(own_home: Home) -> Iterator[TestClient]:
    with own_home.client() as client:
        yield client


def test_a_score_is_added_and_listed(served: TestClient) -> None:
    whole = SCORE | {
        "dataset_digest": "ab" * 32,
        "language": "swa",
        "language_adapter": "sw@1",
        "detail": {"sentences": 12, "precision": 0.5, "note": None, "own": True},
    }
    answer = served.post(ADDRESS, json=whole)
    assert answer.status_code == 201, answer.text
    item = answer.json()
    assert item == whole | {
        "language": "sw",
        "id": item["id"],
        "reference": "ner@1",
        "actor": item["actor"],
        "created_at": item["created_at"],
    }
    assert served.get(ADDRESS).json() == {"items": [item], "next_cursor": None}
    assert served.get("/v1/adapters/sw/versions/1/evaluations").json() == {"items": [], "next_cursor": None}


def test_scores_come_page_by_page_newest_first(served: TestClient) -> None:
    for score in range(5):
        assert served.post(ADDRESS, json=SCORE | {"score": score}).status_code == 201
    found: list[float] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = served.get(ADDRESS, params=query).json()
        found += [item["score"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
        served.post(ADDRESS, json=SCORE | {"score": 9})
    assert found == [4, 3, 2, 1, 0]


def test_a_repeated_request_adds_one_score(served: TestClient, own_home: Home) -> None:
    headers = {"idempotency-key": "run-7"}
    first, second = (served.post(ADDRESS, json=SCORE, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    other = served.post(ADDRESS, json=SCORE | {"score": 0.8}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    with own_home.registry() as registry:
        assert len(list_evaluations(registry, "ner", 1).items) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metric": "Entity F1"}, "metric"),
        ({"score": "0.5"}, "score"),
        ({"score": None}, "score"),
        ({"dataset": ""}, "dataset"),
        ({"split": "a\x00"}, "split"),
        ({"dataset_digest": "x"}, "dataset_digest"),
        ({"language": "\ud800"}, "body"),  # half of a pair: no text, and so no JSON
        ({"language": ""}, "language"),
        ({"language_adapter": "sw"}, "language_adapter"),
        ({"detail": {"labels": ["O"]}}, "detail.labels"),
        ({"detail": {"far": 1 << 60}}, "detail.far"),
        ({"scores": 1}, "scores"),
    ],
)
def test_scores_that_are_refused(client: TestClient, change: dict[str, object], field: str) -> None:
    refused = client.post(ADDRESS, content=json.dumps(SCORE | change), headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), refused.text
    assert refused.json()["field"].startswith(field)
    assert client.get(ADDRESS).json()["items"] == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_scores_are_finite(client: TestClient, number: str) -> None:
    body = f'{{"metric": "f1", "dataset": "a", "split": "test", "score": {number}}}'
    refused = client.post(ADDRESS, content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["field"]) == (422, "score")


@pytest.mark.parametrize(
    ("path", "code"),
    [("nobody/versions/1", "unknown_adapter"), ("ner/versions/9", "unknown_version")],
)
def test_versions_that_are_not_there(client: TestClient, path: str, code: str) -> None:
    address = f"/v1/adapters/{path}/evaluations"
    for answer in (client.get(address), client.post(address, json=SCORE)):
        assert (answer.status_code, answer.json()["code"]) == (404, code)
