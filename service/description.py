"""The API's description (OpenAPI): what FastAPI makes of the routes, completed with what every route may answer.

docs/openapi.json is a copy of it, which a test holds against the app; `make openapi` writes it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI

from .problems import MEDIA_TYPE
from .responses import Problem, problems

_ALWAYS = ("internal",)
_IN_THE_REGISTRY = ("invalid", "database_unavailable")
_OPEN = ("health_live", "health_ready", "inference_live", "inference_ready")
_WITH_A_KEY = ("no_key", "not_allowed", "rate_limited")
_FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")
_COMPONENTS = "#/components/schemas/"

Document = dict[str, Any]


def describing(app: FastAPI) -> Callable[[], Document]:
    """What `app.openapi` is to be."""
    made = app.openapi

    def openapi() -> Document:
        document = made()  # the same one each time
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if Problem.__name__ not in schemas:
            _complete(document, schemas)
        return document

    return openapi


def _complete(document: Document, schemas: Document) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete_responses(operation["responses"], _codes(path, operation["operationId"]))
    _hoist(document["paths"], schemas)
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    schemas[Problem.__name__] = Problem.model_json_schema()


def _codes(path: str, operation: str) -> Iterable[str]:
    yield from _ALWAYS
    if path.startswith("/v1/"):
        yield from _IN_THE_REGISTRY
    if operation not in _OPEN:
        yield from _WITH_A_KEY


def _complete_responses(responses: Document, codes: Iterable[str]) -> None:
    """Codes that the route itself names for the same status stay, before those of all routes."""
    for status, response in problems(*codes).items():
        own = responses.get(str(status), {})
        is_ours = MEDIA_TYPE in own.get("content", {})
        listed = [*(own["description"].split(", ") if is_ours else ()), *response["description"].split(", ")]
        responses[str(status)] = response | {"description": ", ".join(dict.fromkeys(listed))}


def _hoist(node: object, schemas: Document) -> None:
    """Definitions that a schema brings along become components, where references find them."""
    if isinstance(node, dict):
        for name, definition in node.pop("$defs", {}).items():
            schemas[name] = definition
            _hoist(definition, schemas)
        reference = node.get("$ref")
        if isinstance(reference, str):
            node["$ref"] = reference.replace("#/$defs/", _COMPONENTS)
        for value in node.values():
            _hoist(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _hoist(value, schemas)
