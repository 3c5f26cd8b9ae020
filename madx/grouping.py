"""Which tokens of a packed batch run through which place of which slab: the host's half of a grouped batch.

Made once per batch from its plan, as integers that cross to the device together. A draft that is `fixed` has one shape
for all batches of one size and the same slabs, which a CUDA graph needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from .plan import IDENTITY, Plan, Segment
from .slabs import Slab, Slabs

EMBEDDINGS = -1
"""In place of a layer: before the first one, where no language adapter is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDraft:
    """Packed tokens `start` to `stop`, which `slab` is applied to; the numbers are named `{name}.ends` and so on."""

    name: str
    slab: Slab
    start: int
    stop: int
    num_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupingDraft:
    """A batch's groups, and the numbers (int32, on the host) that `grouped.open_group` makes of them."""

    language: tuple[GroupDraft, ...]
    task: tuple[GroupDraft, ...]
    numbers: Mapping[str, torch.Tensor]


def draft_grouping(plan: Plan, slabs: Slabs, num_layers: int, *, fixed: bool = False) -> GroupingDraft:
    """Of rows that are planned by `slabs.rank`."""
    languages, tasks = _by_slab(plan.language, slabs), _by_slab(plan.task, slabs)
    numbers: dict[str, torch.Tensor] = {}
    tokens = plan.num_tokens
    return GroupingDraft(
        language=tuple(
            _language(slab, segments, tokens, num_layers, numbers, fixed=fixed) for slab, segments in languages.items()
        ),
        task=tuple(_task(slab, segments, tokens, num_layers, numbers, fixed=fixed) for slab, segments in tasks.items()),
        numbers=numbers,
    )


Placed = tuple[int, Segment]
"""A segment, and the place of its adapter."""


def _by_slab(segments: Sequence[Segment], slabs: Slabs) -> dict[Slab, list[Placed]]:
    """Slabs by number, in each its segments by place, then by token."""
    found: dict[Slab, list[Placed]] = {}
    for segment in sorted(segments, key=lambda segment: (slabs.rank(segment.slot), segment.start)):
        if segment.slot != IDENTITY:
            slab, place = slabs.place_of(segment.slot)
            found.setdefault(slab, []).append((place, segment))
    return found


def _language(
    slab: Slab, placed: Sequence[Placed], tokens: int, num_layers: int, numbers: dict[str, torch.Tensor], *, fixed: bool
) -> GroupDraft:
    """The slice of the batch that holds the slab's tokens, or, fixed, all of it.

    There, tokens before the slice count to the first place: computing them for nothing is cheaper than moving the rest.
    """
    name = f"language.{slab.number}"
    first, last = placed[0][1].start, placed[-1][1].stop
    assert all(one.stop == next_one.start for (_, one), (_, next_one) in pairwise(placed))
    start, stop = (0, tokens) if fixed else (first, last)
    lengths, places = _lengths_and_places(placed)
    ends = _ends(lengths, places, slab.capacity)
    numbers[f"{name}.ends"] = ends + (first - start)
    numbers[f"{name}.places"] = _padded(places.repeat_interleave(lengths), first - start, stop - last)
    if fixed or any(segment.leave_out for _, segment in placed):
        acting = torch.zeros(num_layers + 1, stop - start, dtype=torch.int32)
        acting[:, first - start : last - start] = 1
        for _, segment in placed:
            left_out = [layer for layer in segment.leave_out if layer < num_layers]
            acting[left_out, segment.start - start : segment.stop - start] = 0
        numbers[f"{name}.acting"] = acting
    return GroupDraft(name=name, slab=slab, start=start, stop=stop, num_layers=num_layers)


def _task(
    slab: Slab, placed: Sequence[Placed], tokens: int, num_layers: int, numbers: dict[str, torch.Tensor], *, fixed: bool
) -> GroupDraft:
    """All of the batch, the slab's tokens moved to the front in order of place."""
    name = f"task.{slab.number}"
    lengths, places = _lengths_and_places(placed)
    starts = torch.tensor([segment.start for _, segment in placed])
    before = lengths.cumsum(0) - lengths
    members = torch.arange(int(lengths.sum())) + (starts - before).repeat_interleave(lengths)
    is_member = torch.zeros(tokens, dtype=torch.bool)
    is_member[members] = True
    order = torch.cat((members, (~is_member).nonzero().flatten()))
    everywhere = torch.arange(tokens)
    numbers[f"{name}.ends"] = _ends(lengths, places, slab.capacity)
    numbers[f"{name}.places"] = _padded(places.repeat_interleave(lengths), 0, tokens - len(members))
    if fixed or not torch.equal(order, everywhere):
        numbers[f"{name}.order"] = order
        numbers[f"{name}.inverse"] = torch.empty_like(order).index_copy_(0, order, everywhere)
    if fixed or len(members) < tokens:
        numbers[f"{name}.acting"] = is_member
    return GroupDraft(name=name, slab=slab, start=0, stop=tokens, num_layers=num_layers)


def _lengths_and_places(placed: Sequence[Placed]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([segment.stop - segment.start for _, segment in placed])
    return lengths, torch.tensor([place for place, _ in placed])


def _ends(lengths: torch.Tensor, places: torch.Tensor, capacity: int) -> torch.Tensor:
    """Segments' lengths and places -> (capacity,): where each place's tokens end."""
    return torch.zeros(capacity, dtype=torch.int64).index_add_(0, places, lengths).cumsum(0)


def _padded(values: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Zeros around: a place that exists, for tokens whose result nobody reads."""
    return torch.nn.functional.pad(values, (before, after))
