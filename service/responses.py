"""What the API's description says of refusals: for each status the codes, all of one shape (RFC 9457)."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from .problems import MEDIA_TYPE, PROBLEMS


class Problem(BaseModel):
    """Problem details. `code` is stable; `error` repeats `detail`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    error: str
    field: str | None = None
    nearest: list[str] | None = None
    candidates: list[str] | None = None
    received_bytes: int | None = None
    revision: int | None = None
    checks: dict[str, str] | None = None


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`, in the order of the statuses."""
    by_status: dict[int, list[str]] = {}
    for status, code in sorted({(_status(code), code) for code in codes}):
        by_status.setdefault(status, []).append(code)
    return {status: _response(listed) for status, listed in by_status.items()}


def _status(code: str) -> int:
    return next(problem.status for problem in PROBLEMS if problem.code == code)


def _response(codes: Iterable[str]) -> dict[str, Any]:
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
