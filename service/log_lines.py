"""Records of the standard library's logging -> lines: JSON for programs, text for people.

Ours bring their fields as `extra={"fields": {...}}`. Whatever library a record comes from, its exception is told by
type and place alone: tracebacks end with messages, which may quote a user's text.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from .logs import REQUEST_ID, where


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        fields.update(_fields(record))
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z, default=str).decode()


class TextLines(logging.Formatter):
    """Time (UTC), level, logger, message, and then the fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
        message = " ".join(_message(record).splitlines())
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record))
        return f"{time} {record.levelname} {record.name}: {message}{fields}"


def _message(record: logging.LogRecord) -> str:
    """Also where a library logs what is no Unicode, such as a file's name."""
    return record.getMessage().encode("utf-8", "backslashreplace").decode("utf-8")


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    if request_id := REQUEST_ID.get():
        yield "request_id", request_id
    yield from getattr(record, "fields", {}).items()
    if record.exc_info and record.exc_info[1] is not None:
        yield "error", where(record.exc_info[1])


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return ",".join(value) if isinstance(value, tuple) else str(value)
