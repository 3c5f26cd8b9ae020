"""What may be logged about an error: its type and place. Its message may quote a user's text, so it never is."""

import traceback
from pathlib import Path

_FRAMES = 4


def where(error: BaseException) -> str:
    """The type of `error` and the innermost places it passed, on one line."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"
