"""The JSON that a request brings -> its request type, read only once the caller has been let in.

A parameter that FastAPI reads by itself is read and parsed before any dependency runs, of whatever length and however
slowly it comes: also from somebody who has no key.
"""

from typing import Any, Generic, TypeVar

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import Request

from .bodies import body_of
from .schemas import read_request
from .state import server_of

SENT_CODES = ("upload_idle", "too_large", "draining")
"""What a route may answer because it reads a body."""

_Shape = TypeVar("_Shape", bound=BaseModel)


class _Reader(Generic[_Shape]):
    """A dependency: the body as `shape`. Raises `InvalidRequest` with the field, and what reading the body raises."""

    def __init__(self, shape: type[_Shape]) -> None:
        self._shape = shape

    async def __call__(self, request: Request) -> _Shape:
        server = server_of(request)
        content = await body_of(request).read(server.intake, server.settings.upload_idle_s)
        return read_request(content, self._shape)


def sent(shape: type[BaseModel]) -> Any:
    """For `Annotated[Shape, sent(Shape)]`, in a route's parameters behind its caller: they are resolved in order."""
    return Depends(_Reader(shape))


def described(shape: type[BaseModel]) -> dict[str, Any]:
    """For the route's `openapi_extra`."""
    schema = shape.model_json_schema()
    definitions = schema.pop("$defs", {}) | {shape.__name__: schema}
    reference = {"$ref": f"#/$defs/{shape.__name__}", "$defs": definitions}  # `description` makes these components
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}
