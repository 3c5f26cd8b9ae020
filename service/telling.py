"""What is told of a request that has ended: its figures, and its line of the log."""

import logging
from typing import Any

from .metrics import Metrics
from .notes import Note

_requests = logging.getLogger("glossa.requests")


def tell(
    note: Note, metrics: Metrics, *, access_log: bool, method: str, route: str, task: str, status: int, seconds: float
) -> None:
    """Without `access_log` only requests that fail with 5xx have a line. `method`, `route` and `task` are ours."""
    metrics.count_request(note, route=route, task=task, status=status, seconds=seconds)
    level = logging.WARNING if status >= 500 else logging.INFO
    if (access_log or status >= 500) and _requests.isEnabledFor(level):
        about = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6), "task": task}
        _requests.log(level, "%s %s %d", method, route, status, extra={"fields": about | _fields(note)})


def _fields(note: Note) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": note.key, "code": note.code}
    if note.ran is not None:
        fields |= {
            "adapters": note.ran.adapters,
            "tokens": note.ran.tokens,
            "tokenization_s": round(note.ran.tokenization_s, 6),
            "queue_s": round(note.ran.queue_s, 6),
            "inference_s": round(note.ran.inference_s, 6),
        }
    if note.lines:
        fields["lines"] = note.lines.total()
        fields["errors"] = {code: count for code, count in note.lines.items() if code}
    return fields
