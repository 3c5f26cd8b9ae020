"""MAD-X: a language adapter is trained alone, a task adapter on top of a frozen language adapter or of none.

At request time the language adapter is swapped for that of the request's language (Pfeiffer et al., 2020).
"""

from dataclasses import dataclass

from madx.adapter import Adapter
from madx.config import Composition
from madx.plan import IDENTITY, RowStack, Slot

NAME = "madx"
LANGUAGE = Slot(1)
TASK = Slot(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainee:
    """The adapters of a step, the stack all its rows run through, and the one adapter that learns."""

    adapters: dict[Slot, Adapter]
    stack: RowStack
    trained: Adapter


def train_language(adapter: Adapter) -> Trainee:
    return Trainee(adapters={LANGUAGE: adapter}, stack=RowStack(language=LANGUAGE), trained=adapter)


def train_task(task: Adapter, language: Adapter | None, *, leave_out: tuple[int, ...] = ()) -> Trainee:
    """`leave_out` lists layers in which the language adapter does not act."""
    adapters = {TASK: task}
    if language is None:
        return Trainee(adapters=adapters, stack=RowStack(task=TASK), trained=task)
    adapters[LANGUAGE] = language.requires_grad_(False).eval()
    return Trainee(adapters=adapters, stack=RowStack(language=LANGUAGE, task=TASK, leave_out=leave_out), trained=task)


def composition(language: Adapter | None, *, leave_out: tuple[int, ...] = ()) -> Composition:
    """What a task adapter trained by `train_task` says of how it is to be served."""
    if language is None:
        return Composition(language="none")
    return Composition(language="swapped", leave_out=leave_out)


def stack_of(composed: Composition, *, has_language: bool) -> RowStack:
    """The stack of one evaluated row, by its task adapter's composition."""
    language = LANGUAGE if has_language else IDENTITY
    return RowStack(language=language, task=TASK, leave_out=composed.leave_out if has_language else ())
