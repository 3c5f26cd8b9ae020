"""Rows -> segments: which tokens of a packed batch run through which adapters. Pure; made once per batch.

Rows are sorted by (language, task) so that each adapter's tokens lie together; layers then walk the segments and never
group again. Which slot a row uses is an argument here and nowhere state.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NewType

Slot = NewType("Slot", int)
"""An adapter's place in the bank."""

IDENTITY = Slot(0)
"""The slot of rows without an adapter: its bottleneck adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStack:
    """What one row runs through. `leave_out` lists layers in which its language adapter does not act."""

    language: Slot = IDENTITY
    task: Slot = IDENTITY
    leave_out: tuple[int, ...] = ()


BARE = RowStack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Packed tokens `start` to `stop` that share a slot (and, for a language slot, its left-out layers)."""

    start: int
    stop: int
    slot: Slot
    leave_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The layout of one batch of B rows and T tokens.

    `order[k]` is the given index of the row packed k-th; `lengths` and `starts` follow the packed order. `language`
    and `task` each cover all T tokens in order.
    """

    order: tuple[int, ...]
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    language: tuple[Segment, ...]
    task: tuple[Segment, ...]

    @property
    def num_tokens(self) -> int:
        return sum(self.lengths)

    def position_of(self) -> list[int]:
        """For each given row, its place in the packed order."""
        places = [0] * len(self.order)
        for place, row in enumerate(self.order):
            places[row] = place
        return places


def _runs(keyed: Iterable[tuple[tuple[Slot, tuple[int, ...]], int]]) -> tuple[Segment, ...]:
    """Merge neighbours of one key: (key, token count) pairs -> segments."""
    segments: list[Segment] = []
    start = 0
    for (slot, leave_out), length in keyed:
        stop = start + length
        last = segments[-1] if segments else None
        if last is not None and (last.slot, last.leave_out) == (slot, leave_out):
            segments[-1] = Segment(start=last.start, stop=stop, slot=slot, leave_out=leave_out)
        else:
            segments.append(Segment(start=start, stop=stop, slot=slot, leave_out=leave_out))
        start = stop
    return tuple(segments)


def plan_rows(lengths: Sequence[int], stacks: Sequence[RowStack], *, rank: Callable[[Slot], int] = int) -> Plan:
    """Lay out rows of `lengths` tokens, each at least 1, so that equal stacks are neighbours.

    The sort is stable and its key is (language, left-out layers, task): a language adapter has about eight times the
    bytes of a task adapter, so its weights should be read once. Slots go by `rank`, the identity's being the lowest.
    """
    if len(lengths) != len(stacks):
        raise ValueError(f"{len(lengths)} lengths for {len(stacks)} stacks")
    if any(length < 1 for length in lengths):
        raise ValueError("a row holds at least one token")
    keys = [(rank(stack.language), stack.leave_out, rank(stack.task)) for stack in stacks]
    order = sorted(range(len(lengths)), key=keys.__getitem__)
    packed_lengths = tuple(lengths[row] for row in order)
    packed = [stacks[row] for row in order]
    ends = accumulate(packed_lengths)
    return Plan(
        order=tuple(order),
        lengths=packed_lengths,
        starts=tuple(end - length for end, length in zip(ends, packed_lengths, strict=True)),
        language=_runs(((s.language, s.leave_out), n) for s, n in zip(packed, packed_lengths, strict=True)),
        task=_runs(((s.task, ()), n) for s, n in zip(packed, packed_lengths, strict=True)),
    )
