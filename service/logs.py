"""What may be logged: of an error its type and place, of a request its id. An error's message may quote a user's text,
so it never is.

Every line of the log that a request causes in its own task, or in a thread that works for it, has its id.
"""

import asyncio
import logging
import traceback
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_FRAMES = 4
_log = logging.getLogger(__name__)

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


def where(error: BaseException) -> str:
    """The type of `error` and the innermost places it passed, on one line."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


def log_unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's handler of exceptions that nobody took. Its own one prints messages, arguments and results."""
    error = context.get("exception")
    _log.error("nobody took an error: %s", "it has no exception" if error is None else where(error))
