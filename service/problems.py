"""Domain error -> problem+json (RFC 9457): one table. docs/serving.md prints it; a test holds both together."""

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from madx.errors import GlossaError, InvalidInput, NoMaskedLMHead, TextTooLong
from registry import errors as registry_errors

from . import errors

MEDIA_TYPE = "application/problem+json"
MOST_DETAIL = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    error: type[GlossaError]
    status: int
    code: str
    title: str


def _row(error: type[GlossaError], status: int, code: str, title: str) -> Problem:
    return Problem(error=error, status=status, code=code, title=title)


PROBLEMS: tuple[Problem, ...] = (
    _row(InvalidInput, 422, "invalid", "The request is not valid"),
    _row(errors.LanguageMissing, 422, "language_missing", "The task needs a language"),
    _row(TextTooLong, 413, "too_large", "The request is too large"),
    _row(errors.BodyTooLarge, 413, "too_large", "The request is too large"),
    _row(errors.UnknownRoute, 404, "unknown_route", "There is nothing at this address"),
    _row(registry_errors.UnknownTask, 404, "unknown_task", "The task is not known"),
    _row(registry_errors.UnknownLanguage, 404, "unknown_language", "The language is not known"),
    _row(registry_errors.UnknownAdapter, 404, "unknown_adapter", "The adapter is not known"),
    _row(registry_errors.UnknownVersion, 404, "unknown_version", "The version is not known"),
    _row(registry_errors.UnknownAlias, 404, "unknown_alias", "The alias is not known"),
    _row(errors.MethodNotAllowed, 405, "method_not_allowed", "The address does not take this method"),
    _row(registry_errors.WrongBackbone, 409, "wrong_backbone", "The adapter is made for another backbone"),
    _row(registry_errors.AmbiguousAdapter, 409, "ambiguous", "Several adapters fit"),
    _row(NoMaskedLMHead, 409, "no_masked_lm_head", "The backbone cannot fill masks"),
    _row(errors.AdapterLoadFailed, 424, "adapter_load_failed", "The adapter cannot be loaded"),
    _row(errors.QueueFull, 429, "queue_full", "The queue is full"),
    _row(errors.InternalError, 500, "internal", "The server failed"),
    _row(errors.NotReady, 503, "not_ready", "The server is not ready"),
    _row(errors.Draining, 503, "draining", "The server is shutting down"),
    _row(registry_errors.DatabaseUnavailable, 503, "database_unavailable", "The registry cannot be reached"),
    _row(errors.DeadlineExceeded, 504, "deadline_exceeded", "The request took too long"),
)
_BY_ERROR = {problem.error: problem for problem in PROBLEMS}


def problem_of(error: GlossaError) -> Problem | None:
    """The row of the error's own class, else of its nearest base."""
    return next((_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), None)


def _shortened(text: str) -> str:
    """A message may quote what the client sent, which can be long."""
    return text if len(text) <= MOST_DETAIL else f"{text[:MOST_DETAIL]} ..."


def problem_response(error: GlossaError) -> Response:
    """What the client gets. An error without a row is our own failure, and tells nothing."""
    problem = problem_of(error)
    if problem is None:
        error = errors.InternalError("the server failed; its log says where")
        problem = _BY_ERROR[errors.InternalError]
    content: dict[str, Any] = {
        "type": f"urn:glossa:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": (detail := _shortened(str(error))),
        "error": detail,  # the member that Hugging Face clients show to their users
    }
    for member in ("field", "nearest", "candidates"):
        value = getattr(error, member, None)
        if value:
            content[member] = value
    headers = {}
    if isinstance(error, errors.QueueFull):
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, errors.MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    return Response(orjson.dumps(content), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
