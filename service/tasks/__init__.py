"""The tasks that are served, one file each: body -> rows, answers -> reply. `prepare_for` finds one by its name."""

from registry.errors import UnknownTask
from registry.nearest import nearest_names

from . import fill_mask, ner
from .prepared import Prepare, Prepared

__all__ = ["PREPARE", "Prepared", "prepare_for"]

PREPARE: dict[str, Prepare] = {ner.NAME: ner.prepare, fill_mask.NAME: fill_mask.prepare}


def prepare_for(task: str) -> Prepare:
    """Raises `UnknownTask` with the nearest names."""
    if task not in PREPARE:
        raise UnknownTask(f"no task {task!r}; served: {', '.join(PREPARE)}", nearest=nearest_names(task, PREPARE))
    return PREPARE[task]
