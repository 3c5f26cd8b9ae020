"""The catalogue over HTTP: lists, versions, aliases with preconditions, defaults, deleting and restoring."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry import aliases, catalog
from registry.references import AdapterRef
from tests.support import tiny
from tests.support.made_adapters import OTHER_FINGERPRINT, add_made_backbone, publish_made
from tests.support.served import Home

ALIAS = "/v1/adapters/sw/aliases/canary"


@pytest.fixture(scope="module")
def stock(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """sw has a second version; far and far-ner are for another backbone."""
    stock = home.copy(tmp_path_factory.mktemp("stock") / "home")
    stock.publish("sw", tiny.language_checkpoint(stock.loaded, "sw", seed=20))
    with stock.registry() as registry:
        add_made_backbone(registry, fingerprint=OTHER_FINGERPRINT, name="elsewhere")
        publish_made(registry, "far", key="ha", fingerprint=OTHER_FINGERPRINT)
        publish_made(registry, "far-ner", "task", key="ner", fingerprint=OTHER_FINGERPRINT)
    return stock


@pytest.fixture(scope="module")
def shelf(stock: Home) -> Iterator[TestClient]:
    """For tests that change nothing."""
    with stock.client() as client:
        yield client


@pytest.fixture
def stocked(stock: Home, tmp_path: Path) -> Home:
    return stock.copy(tmp_path / "home")


@pytest.fixture
def served(stocked: Home) -> Iterator[TestClient]:
    with stocked.client() as client:
        yield client


def body(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: Any) -> tuple[int, str, str | None]:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, problem["code"], problem.get("field")


def listed(client: TestClient, **query: Any) -> list[str]:
    return [item["name"] for item in body(client.get("/v1/adapters", params=query))["items"]]


def test_one_item_for_each_adapter(shelf: TestClient, stock: Home) -> None:
    page = body(shelf.get("/v1/adapters"))
    assert [item["name"] for item in page["items"]] == ["en", "far", "far-ner", "ner", "sw"]
    assert page["next_cursor"] is None
    sw, version = page["items"][4], stock.version("sw")
    assert (sw["kind"], sw["language"], sw["task"], sw["num_versions"], sw["aliases"]) == (
        "language",
        "sw",
        None,
        2,
        {},
    )
    assert sw["newest"] == {
        "reference": "sw@2",
        "name": "sw",
        "version": 2,
        "digest": version.manifest_digest,
        "weights_digest": version.weights_digest,
        "fingerprint": stock.loaded.fingerprint,
        "servable": True,
        "size_bytes": version.size_bytes,
        "labels": [],
        "created_at": sw["newest"]["created_at"],
        "deleted_at": None,
    }
    assert [item["newest"]["servable"] for item in page["items"]] == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"kind": "task"}, ["far-ner", "ner"]),
        ({"language": "swa"}, ["sw"]),
        ({"task": "ner", "backbone": "elsewhere"}, ["far-ner"]),
        ({"backbone": OTHER_FINGERPRINT}, ["far", "far-ner"]),
        ({"label": "LOC"}, ["ner"]),
        ({"label": "I-PER", "kind": "language"}, []),
        ({"q": "far"}, ["far", "far-ner"]),
        ({"q": "ar"}, []),
    ],
)
def test_filters(shelf: TestClient, query: dict[str, str], expected: list[str]) -> None:
    assert listed(shelf, **query) == expected


@pytest.mark.parametrize(
    ("query", "status", "code", "field"),
    [
        ({"kind": "head"}, 422, "invalid", "kind"),
        ({"language": "not a language"}, 422, "invalid", "language"),
        ({"limit": 0}, 422, "invalid", "limit"),
        ({"limit": 201}, 422, "invalid", "limit"),
        ({"cursor": "x"}, 422, "invalid", "cursor"),
        ({"q": "x" * 65}, 422, "invalid", "q"),
        ({"backbone": "nobody"}, 404, "unknown_backbone", None),
    ],
)
def test_bad_filters(shelf: TestClient, query: dict[str, Any], status: int, code: str, field: str | None) -> None:
    assert refused(shelf.get("/v1/adapters", params=query)) == (status, code, field)


def test_pages(shelf: TestClient) -> None:
    first = body(shelf.get("/v1/adapters", params={"limit": 3}))
    second = body(shelf.get("/v1/adapters", params={"limit": 3, "cursor": first["next_cursor"]}))
    assert [item["name"] for item in first["items"] + second["items"]] == ["en", "far", "far-ner", "ner", "sw"]
    assert second["next_cursor"] is None
    other = shelf.get("/v1/adapters", params={"kind": "task", "cursor": first["next_cursor"]})
    assert refused(other) == (422, "invalid", "cursor")


def test_one_adapter_with_where_it_is_the_default(served: TestClient, stocked: Home) -> None:
    here = stocked.loaded.fingerprint
    body(served.put("/v1/defaults/language/swa", json={"reference": "sw@1"}))
    shown = body(served.get("/v1/adapters/sw"))
    assert shown["defaults"] == [{"kind": "language", "key": "sw", "fingerprint": here, "reference": "sw@1"}]
    assert (shown["num_versions"], shown["newest"]["reference"]) == (2, "sw@2")
    assert body(served.get("/v1/adapters/en"))["defaults"] == []
    assert refused(served.get("/v1/adapters/nobody")) == (404, "unknown_adapter", None)
    assert refused(served.get("/v1/adapters/No%20body")) == (422, "invalid", "name")


def test_versions_newest_first(served: TestClient) -> None:
    body(served.put("/v1/adapters/sw/aliases/old", json={"version": 1}, headers={"if-none-match": "*"}), 201)
    page = body(served.get("/v1/adapters/sw/versions"))
    assert [(item["reference"], item["aliases"]) for item in page["items"]] == [("sw@2", []), ("sw@1", ["old"])]
    assert served.delete("/v1/adapters/sw/versions/2").status_code == 204
    assert [item["version"] for item in body(served.get("/v1/adapters/sw/versions"))["items"]] == [1]
    both = body(served.get("/v1/adapters/sw/versions", params={"include_deleted": True, "limit": 1}))
    assert both["items"][0]["deleted_at"] is not None
    then = {"include_deleted": True, "limit": 1, "cursor": both["next_cursor"]}
    assert [item["version"] for item in body(served.get("/v1/adapters/sw/versions", params=then))["items"]] == [1]
    assert refused(served.get("/v1/adapters/sw/versions", params={"cursor": both["next_cursor"]}))[2] == "cursor"


def test_a_version_with_its_manifest(shelf: TestClient, stock: Home) -> None:
    answer = shelf.get("/v1/adapters/ner/versions/1")
    version = stock.version("ner")
    shown = body(answer)
    assert answer.headers["etag"] == f'"{version.manifest_digest}"'
    assert shown["labels"] == list(tiny.NER_LABELS)
    assert shown["manifest"]["backbone"]["fingerprint"] == stock.loaded.fingerprint
    assert refused(shelf.get("/v1/adapters/ner/versions/2"))[:2] == (404, "unknown_version")
    assert refused(shelf.get("/v1/adapters/ner/versions/0")) == (422, "invalid", "version")


def test_references_are_resolved(served: TestClient) -> None:
    found = [body(served.get("/v1/resolve", params={"reference": text}))["reference"] for text in ("sw", "sw@1")]
    assert found == ["sw@2", "sw@1"]
    body(served.put("/v1/adapters/sw/aliases/production", json={"version": 1}, headers={"if-none-match": "*"}), 201)
    assert body(served.get("/v1/resolve", params={"reference": "sw"}))["reference"] == "sw@1"
    assert refused(served.get("/v1/resolve", params={"reference": "sw@canary"}))[:2] == (404, "unknown_alias")
    assert refused(served.get("/v1/resolve", params={"reference": "sw@0"})) == (422, "invalid", "reference")
    assert refused(served.get("/v1/resolve")) == (422, "invalid", "reference")


def test_backbones(shelf: TestClient, stock: Home) -> None:
    items = body(shelf.get("/v1/backbones"))["items"]
    assert {(item["fingerprint"], item["is_served"]) for item in items} == {
        (stock.loaded.fingerprint, True),
        (OTHER_FINGERPRINT, False),
    }


def test_lineage(shelf: TestClient) -> None:
    shown = body(shelf.get("/v1/adapters/ner/versions/1/lineage"))
    assert (shown["reference"], shown["parents"], shown["children"]) == ("ner@1", {}, [])
    assert shown["fingerprint_source"] == "checked"


def test_an_alias_is_created_moved_and_removed(served: TestClient, stocked: Home) -> None:
    created = served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"})
    item = body(created, 201)
    assert created.headers["etag"] == '"1"'
    assert (item["version"], item["reference"], item["revision"]) == (1, "sw@1", 1)
    moved = served.put(ALIAS, json={"version": 2}, headers={"if-match": '"1"'})
    assert (body(moved)["version"], moved.headers["etag"]) == (2, '"2"')
    shown = served.get(ALIAS)
    assert (body(shown), shown.headers["etag"]) == (body(moved), '"2"')
    assert [item["alias"] for item in body(served.get("/v1/adapters/sw/aliases"))["items"]] == ["canary"]
    assert served.delete(ALIAS, headers={"if-match": '"2"'}).status_code == 204
    assert refused(served.get(ALIAS))[:2] == (404, "unknown_alias")
    history = body(served.get(f"{ALIAS}/history"))["items"]
    assert [(move["revision"], move["version"]) for move in history] == [(1, 1), (2, 2), (3, None)]
    again = served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"})
    assert (again.status_code, again.headers["etag"]) == (201, '"4"')
    with stocked.registry() as registry:
        assert aliases.get_alias(registry, "sw", "canary").revision == 4


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "precondition_required"),
        ({"if-match": '"2"'}, 412, "precondition_failed"),
        ({"if-match": '"0"'}, 412, "precondition_failed"),
        ({"if-match": 'W/"1"'}, 412, "precondition_failed"),
        ({"if-none-match": "*"}, 412, "precondition_failed"),
        ({"if-match": "1"}, 422, "invalid"),
        ({"if-none-match": '"1"'}, 422, "invalid"),
        ({"if-match": '"1"', "if-none-match": "*"}, 422, "invalid"),
    ],
)
def test_an_alias_does_not_move_blindly(served: TestClient, headers: dict[str, str], status: int, code: str) -> None:
    body(served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"}), 201)
    answer = served.put(ALIAS, json={"version": 2}, headers=headers)
    assert refused(answer)[:2] == (status, code)
    if status == 412:
        assert answer.json()["revision"] == 1
    assert body(served.get(ALIAS))["version"] == 1


@pytest.mark.parametrize("tag", ['"0"', '"1"', "*"])
def test_what_is_not_there_cannot_be_moved_or_removed(served: TestClient, tag: str) -> None:
    moved = served.put(ALIAS, json={"version": 1}, headers={"if-match": tag})
    assert refused(moved)[:2] == (412, "precondition_failed")
    assert refused(served.delete(ALIAS, headers={"if-match": tag}))[:2] == (404, "unknown_alias")
    assert refused(served.get(ALIAS))[:2] == (404, "unknown_alias")


@pytest.mark.parametrize(
    ("path", "content", "status", "code", "field"),
    [
        ("sw/aliases/canary", {"version": 9}, 404, "unknown_version", None),
        ("nobody/aliases/canary", {"version": 1}, 404, "unknown_adapter", None),
        ("sw/aliases/3", {"version": 1}, 422, "invalid", "alias"),
        ("sw/aliases/canary", {"version": "1"}, 422, "invalid", "version"),
        ("sw/aliases/canary", {"version": 1, "force": True}, 422, "invalid", "force"),
        ("sw/aliases/canary", [], 422, "invalid", "body"),
    ],
)
def test_aliases_that_cannot_be(
    client: TestClient, path: str, content: Any, status: int, code: str, field: str | None
) -> None:
    answer = client.put(f"/v1/adapters/{path}", json=content, headers={"if-none-match": "*"})
    assert refused(answer) == (status, code, field)


def test_a_version_that_is_named_is_not_deleted(served: TestClient) -> None:
    body(served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"}), 201)
    assert refused(served.delete("/v1/adapters/sw/versions/1"))[:2] == (409, "conflict")
    body(served.put("/v1/defaults/language/sw", json={"reference": "sw@2"}))
    assert refused(served.delete("/v1/adapters/sw/versions/2"))[:2] == (409, "conflict")
    served.delete(ALIAS, headers={"if-match": "*"})
    assert served.delete("/v1/adapters/sw/versions/1").status_code == 204
    assert refused(served.delete("/v1/adapters/sw/versions/1"))[:2] == (404, "unknown_version")
    assert refused(served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"}))[1] == "unknown_version"


def test_a_deleted_version_is_shown_and_restored_once(served: TestClient) -> None:
    served.delete("/v1/adapters/sw/versions/2")
    assert body(served.get("/v1/adapters/sw/versions/2"))["deleted_at"] is not None
    assert body(served.get("/v1/resolve", params={"reference": "sw"}))["reference"] == "sw@1"
    key = {"idempotency-key": "once"}
    first = served.post("/v1/adapters/sw/versions/2/restore", headers=key)
    assert (body(first)["reference"], body(first)["deleted_at"]) == ("sw@2", None)
    served.delete("/v1/adapters/sw/versions/2")
    again = served.post("/v1/adapters/sw/versions/2/restore", headers=key)
    assert (again.headers["idempotent-replayed"], again.json()) == ("true", first.json())
    assert body(served.get("/v1/adapters/sw/versions/2"))["deleted_at"] is not None
    assert body(served.post("/v1/adapters/sw/versions/2/restore"))["deleted_at"] is None
    assert refused(served.post("/v1/adapters/sw/versions/9/restore"))[:2] == (404, "unknown_version")


def test_an_adapter_without_live_versions_is_not_listed(served: TestClient) -> None:
    served.delete("/v1/adapters/far/versions/1")
    assert "far" not in listed(served)
    assert refused(served.get("/v1/adapters/far"))[:2] == (404, "unknown_version")
    assert body(served.get("/v1/adapters/far/versions")) == {"items": [], "next_cursor": None}


def test_defaults_are_set_and_cleared(served: TestClient, stocked: Home) -> None:
    here = stocked.loaded.fingerprint
    item = body(served.put("/v1/defaults/task/ner", json={"reference": "ner"}))
    assert item == {"kind": "task", "key": "ner", "fingerprint": here, "reference": "ner", "runs": "ner@1"}
    far = {"reference": "far", "fingerprint": OTHER_FINGERPRINT}
    assert body(served.put("/v1/defaults/language/hau", json=far))["key"] == "ha"
    with stocked.registry() as registry:
        assert catalog.get_default(registry, kind="language", key="ha", fingerprint=OTHER_FINGERPRINT) == AdapterRef(
            name="far"
        )
    assert served.delete("/v1/defaults/task/ner").status_code == 204
    assert refused(served.delete("/v1/defaults/task/ner"))[:2] == (404, "no_default")
    assert refused(served.delete("/v1/defaults/language/ha"))[:2] == (404, "no_default")
    there = {"fingerprint": OTHER_FINGERPRINT}
    assert served.delete("/v1/defaults/language/ha", params=there).status_code == 204


@pytest.mark.parametrize(
    ("place", "content", "status", "code", "field"),
    [
        ("language/sw", {"reference": "en"}, 422, "invalid", "reference"),
        ("task/ner", {"reference": "sw"}, 422, "invalid", "reference"),
        ("language/sw", {"reference": "sw@0"}, 422, "invalid", "reference"),
        ("language/no language", {"reference": "sw"}, 422, "invalid", "key"),
        ("head/ner", {"reference": "sw"}, 422, "invalid", "kind"),
        ("language/sw", {"reference": "sw", "fingerprint": "x"}, 422, "invalid", "fingerprint"),
        ("language/sw", {"reference": "sw", "fingerprint": "a" * 64}, 404, "unknown_backbone", None),
        ("language/sw", {"reference": "nobody"}, 404, "unknown_adapter", None),
        ("language/ha", {"reference": "far"}, 409, "wrong_backbone", None),
    ],
)
def test_defaults_that_cannot_be(
    shelf: TestClient, place: str, content: dict[str, str], status: int, code: str, field: str | None
) -> None:
    assert refused(shelf.put(f"/v1/defaults/{place}", json=content)) == (status, code, field)


def test_each_change_names_who_made_it(served: TestClient) -> None:
    body(served.put(ALIAS, json={"version": 1}, headers={"if-none-match": "*"}), 201)
    [move] = body(served.get(f"{ALIAS}/history"))["items"]
    entries = body(served.get("/v1/audit", params={"subject": "sw@canary"}))["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [("alias.moved", move["actor"])]
