"""Domain error -> problem+json (RFC 9457): one table. docs/serving.md prints it; a test holds both together."""

from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from madx.errors import GlossaError, InvalidInput, InvalidManifest, InvalidWeights, NoMaskedLMHead, TextTooLong
from registry import errors as registry_errors
from registry import refusals

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


_REFUSED = "The weights are refused"
_TOO_MANY_UPLOADS = "Too many uploads"

PROBLEMS: tuple[Problem, ...] = (
    _row(InvalidInput, 422, "invalid", "The request is not valid"),
    _row(errors.LanguageMissing, 422, "language_missing", "The task needs a language"),
    _row(registry_errors.InvalidName, 422, "invalid_name", "The name is not valid"),
    _row(registry_errors.IdempotencyMismatch, 422, "idempotency_mismatch", "The Idempotency-Key is another request's"),
    _row(InvalidManifest, 422, "invalid_manifest", "The manifest is not valid"),
    _row(InvalidWeights, 422, "invalid_weights", _REFUSED),
    _row(refusals.DigestMismatch, 422, "digest_mismatch", _REFUSED),
    _row(refusals.GateFailed, 422, "gate_failed", _REFUSED),
    _row(refusals.HeaderTooLarge, 422, "header_too_large", _REFUSED),
    _row(refusals.InvalidTensorName, 422, "invalid_tensor_name", _REFUSED),
    _row(refusals.NotFinite, 422, "not_finite", _REFUSED),
    _row(refusals.NotSafetensors, 422, "not_safetensors", _REFUSED),
    _row(refusals.TooManyTensors, 422, "too_many_tensors", _REFUSED),
    _row(refusals.Truncated, 422, "truncated", _REFUSED),
    _row(refusals.UnknownDtype, 422, "unknown_dtype", _REFUSED),
    _row(refusals.WrongNames, 422, "wrong_names", _REFUSED),
    _row(refusals.WrongOffsets, 422, "wrong_offsets", _REFUSED),
    _row(refusals.WrongShape, 422, "wrong_shape", _REFUSED),
    _row(registry_errors.InvalidCursor, 422, "invalid", "The request is not valid"),
    _row(registry_errors.InvalidEvaluation, 422, "invalid", "The request is not valid"),
    _row(registry_errors.InvalidKey, 422, "invalid", "The request is not valid"),
    _row(TextTooLong, 413, "too_large", "The request is too large"),
    _row(errors.BodyTooLarge, 413, "too_large", "The request is too large"),
    _row(registry_errors.BlobTooLarge, 413, "too_large", "The request is too large"),
    _row(errors.UnsatisfiableRange, 416, "wrong_range", "The range does not fit"),
    _row(registry_errors.WrongRange, 416, "wrong_range", "The range does not fit"),
    _row(registry_errors.NoKey, 401, "no_key", "A valid key is needed"),
    _row(registry_errors.NotAllowed, 403, "not_allowed", "The key may not do this"),
    _row(errors.UnknownRoute, 404, "unknown_route", "There is nothing at this address"),
    _row(registry_errors.UnknownTask, 404, "unknown_task", "The task is not known"),
    _row(registry_errors.UnknownLanguage, 404, "unknown_language", "The language is not known"),
    _row(registry_errors.UnknownAdapter, 404, "unknown_adapter", "The adapter is not known"),
    _row(registry_errors.UnknownVersion, 404, "unknown_version", "The version is not known"),
    _row(registry_errors.UnknownAlias, 404, "unknown_alias", "The alias is not known"),
    _row(registry_errors.UnknownBackbone, 404, "unknown_backbone", "The backbone is not known"),
    _row(registry_errors.UnknownUpload, 404, "unknown_upload", "The upload is not known"),
    _row(registry_errors.NoDefault, 404, "no_default", "No default is set"),
    _row(registry_errors.UnknownKey, 404, "unknown_key", "The key is not known"),
    _row(errors.MethodNotAllowed, 405, "method_not_allowed", "The address does not take this method"),
    _row(registry_errors.WrongBackbone, 409, "wrong_backbone", "The adapter is made for another backbone"),
    _row(registry_errors.Ambiguous, 409, "ambiguous", "Several adapters fit"),
    _row(NoMaskedLMHead, 409, "no_masked_lm_head", "The backbone cannot fill masks"),
    _row(errors.PinsFull, 409, "pins_full", "Too much is pinned"),
    _row(errors.UploadIdle, 408, "upload_idle", "The upload does not go on"),
    _row(registry_errors.Conflict, 409, "conflict", "The registry holds something else"),
    _row(registry_errors.InProgress, 409, "in_progress", "The first request is still running"),
    _row(registry_errors.UploadBusy, 409, "upload_busy", "The upload is in use"),
    _row(registry_errors.UploadIncomplete, 409, "upload_incomplete", "The upload is not finished"),
    _row(registry_errors.WeightsCollected, 410, "weights_collected", "The weights are gone"),
    _row(registry_errors.PreconditionFailed, 412, "precondition_failed", "Somebody else was faster"),
    _row(errors.AdapterLoadFailed, 424, "adapter_load_failed", "The adapter cannot be loaded"),
    _row(errors.PreconditionRequired, 428, "precondition_required", "The request does not say what it expects"),
    _row(errors.QueueFull, 429, "queue_full", "The queue is full"),
    _row(errors.RateLimited, 429, "rate_limited", "Too many requests with this key"),
    _row(errors.UploadsFull, 429, "too_many_uploads", _TOO_MANY_UPLOADS),
    _row(registry_errors.TooManyUploads, 429, "too_many_uploads", _TOO_MANY_UPLOADS),
    _row(errors.InternalError, 500, "internal", "The server failed"),
    _row(errors.NotReady, 503, "not_ready", "The server is not ready"),
    _row(errors.Draining, 503, "draining", "The server is shutting down"),
    _row(registry_errors.DatabaseUnavailable, 503, "database_unavailable", "The registry cannot be reached"),
    _row(registry_errors.StoreUnavailable, 503, "store_unavailable", "The blob store cannot be reached"),
    _row(registry_errors.UnknownBlob, 503, "unknown_blob", "The blob store has lost the weights"),
    _row(registry_errors.BlobCorrupt, 503, "blob_corrupt", "The blob store returned other bytes"),
    _row(registry_errors.LeaseLost, 503, "lease_lost", "Publishing took too long"),
    _row(registry_errors.GateUnavailable, 503, "gate_unavailable", "The gate does not start"),
    _row(errors.DeadlineExceeded, 504, "deadline_exceeded", "The request took too long"),
)
_BY_ERROR = {problem.error: problem for problem in PROBLEMS}


def problem_of(error: GlossaError) -> Problem | None:
    """The row of the error's own class, else of its nearest base."""
    return next((_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), None)


_INSIDE = (registry_errors.DatabaseUnavailable, registry_errors.StoreUnavailable, registry_errors.GateUnavailable)


def is_inside(error: GlossaError) -> bool:
    """Whether it is about what stands behind the server: its message has addresses and paths, for the log alone."""
    return isinstance(error, _INSIDE)


def _told(error: GlossaError) -> str:
    return (
        "what the server needs does not answer; try again later, its log says more" if is_inside(error) else str(error)
    )


def _shortened(text: str) -> str:
    """A message may quote what the client sent, which can be long."""
    return text if len(text) <= MOST_DETAIL else f"{text[:MOST_DETAIL]} ..."


def problem_content(error: GlossaError) -> dict[str, Any]:
    """The JSON object that tells of it. An error without a row is our own failure, and tells nothing."""
    problem = problem_of(error)
    if problem is None:
        error = errors.InternalError("the server failed; its log says where")
        problem = _BY_ERROR[errors.InternalError]
    content: dict[str, Any] = {
        "type": f"urn:glossa:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": (detail := _shortened(_told(error))),
        "error": detail,  # the member that Hugging Face clients show to their users
    }
    for member in ("field", "nearest", "candidates", "received_bytes", "revision", "checks"):
        value = getattr(error, member, None)
        if value is not None and value != ():
            content[member] = value
    return content


def problem_response(error: GlossaError) -> Response:
    """What the client gets."""
    content = problem_content(error)
    headers = _headers(error)
    return Response(orjson.dumps(content), status_code=content["status"], media_type=MEDIA_TYPE, headers=headers)


def _headers(error: GlossaError) -> dict[str, str]:
    headers = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    if isinstance(error, registry_errors.NoKey):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.UnsatisfiableRange):
        headers["content-range"] = f"bytes */{error.size_bytes}"
    if isinstance(error, registry_errors.WrongRange) and error.received_bytes:
        headers["range"] = f"0-{error.received_bytes - 1}"
    return headers
