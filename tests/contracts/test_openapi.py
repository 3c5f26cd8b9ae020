"""The API's description: docs/openapi.json is what the app says, and every route says all that it may answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.problems import MEDIA_TYPE, PROBLEMS
from service.settings import Settings

Document = dict[str, Any]
OPEN = {"health_live", "health_ready", "inference_live", "inference_ready"}
PROBLEM = {"$ref": "#/components/schemas/Problem"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    settings = Settings(home=tmp_path_factory.mktemp("described"), backbone="none")
    return create_app(settings).openapi()


@pytest.fixture(scope="module")
def operations(document: Document) -> dict[str, Document]:
    found = [operation for operations in document["paths"].values() for operation in operations.values()]
    by_id = {operation["operationId"]: operation for operation in found}
    assert len(by_id) == len(found), "operation ids are unique"
    return by_id


def test_the_copy_in_the_docs_is_up_to_date(document: Document, checkout: Path) -> None:
    copy = json.loads((checkout / "docs" / "openapi.json").read_bytes())
    assert copy == document, "`make openapi` writes docs/openapi.json again; say what changed in CHANGELOG.md"


def test_operation_ids_are_chosen(operations: dict[str, Document]) -> None:
    """Not made from function names and addresses, which would change with them."""
    made = [name for name in operations if name.endswith(("_get", "_post", "_put", "_patch", "_delete", "_head"))]
    assert made == []
    assert all(name.replace("_", "").isalpha() for name in operations)


def test_references_lead_somewhere(document: Document) -> None:
    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            inner = [found for value in node.values() for found in references(value)]
            return [*inner, *([node["$ref"]] if isinstance(node.get("$ref"), str) else [])]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    schemas = document["components"]["schemas"]
    assert {name.removeprefix("#/components/schemas/") for name in references(document)} <= set(schemas)
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)


def test_refusals_are_problems(operations: dict[str, Document]) -> None:
    titles = {(str(problem.status), problem.code) for problem in PROBLEMS}
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == [MEDIA_TYPE], (name, status)
                assert response["content"][MEDIA_TYPE]["schema"] == PROBLEM, (name, status)
                codes = response["description"].replace("`", "").split(", ")
                assert {(status, code) for code in codes} <= titles, (name, status)


def test_what_every_route_may_answer(operations: dict[str, Document]) -> None:
    for name, operation in operations.items():
        expected = {"500"} if name in OPEN else {"500", "401", "403", "429"}
        assert expected <= set(operation["responses"]), name


def test_keys_are_asked_for_where_the_routes_ask(operations: dict[str, Document]) -> None:
    assert {name for name, operation in operations.items() if "security" not in operation} == OPEN
