"""The tasks that are served, one file each: body -> rows, answers -> reply. `reader_of` finds one by its name."""

from registry.errors import UnknownTask
from registry.nearest import nearest_names

from . import fill_mask, ner
from .prepared import Asked, Prepared, Read

__all__ = ["READERS", "Asked", "Prepared", "Read", "reader_of"]

READERS: dict[str, Read] = {ner.NAME: ner.read, fill_mask.NAME: fill_mask.read}


def reader_of(task: str) -> Read:
    """Raises `UnknownTask` with the nearest names."""
    if task not in READERS:
        raise UnknownTask(f"no task {task!r}; served: {', '.join(READERS)}", nearest=nearest_names(task, READERS))
    return READERS[task]
