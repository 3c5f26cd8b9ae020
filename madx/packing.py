"""A grouped batch on its way to the device: all its integers in one tensor, which crosses in one copy.

Ids and positions, the rows' boundaries, and which token runs through which place of a slab. What `backbone.pack` is to
a batch that goes segment by segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from .attention import RowLayout, bounds_of, lay_out
from .backbone import Backbone, Packed, ids_and_positions
from .grouped import Grouping, open_group
from .grouping import GroupingDraft, draft_grouping
from .plan import Plan
from .slabs import Slabs


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a batch of fixed shape has room for: `rows`, none of them longer than `longest`."""

    rows: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A batch on the host. `flat` (int32) holds its numbers one after the other, `sizes` says how many of each."""

    plan: Plan
    extent: Extent
    grouping: GroupingDraft
    sizes: Mapping[str, int]
    flat: torch.Tensor


def draft_batch(
    rows: Sequence[Sequence[int]], plan: Plan, backbone: Backbone, slabs: Slabs, *, extent: Extent | None = None
) -> Draft:
    """Token ids of the given rows, laid out as `plan`, made by `slabs.rank`, says; of fixed shape with an `extent`."""
    config = backbone.config
    grouping = draft_grouping(plan, slabs, config.num_layers, fixed=extent is not None)
    extent = extent or Extent(rows=len(plan.lengths), longest=max(plan.lengths))
    ids, positions = ids_and_positions(rows, plan, config)
    bounds = bounds_of(plan.lengths)
    numbers = {
        "input_ids": ids,
        "position_ids": positions,
        "cumulative": torch.tensor(bounds + bounds[-1:] * (extent.rows - len(plan.lengths))),
        **grouping.numbers,
    }
    return Draft(
        plan=plan,
        extent=extent,
        grouping=grouping,
        sizes={name: values.numel() for name, values in numbers.items()},
        flat=torch.cat([values.flatten().to(torch.int32) for values in numbers.values()]),
    )


def send(flat: torch.Tensor, device: torch.device) -> torch.Tensor:
    """In one copy, which nobody waits for."""
    return flat.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else flat.to(device)


def open_batch(draft: Draft, flat: torch.Tensor, backbone: Backbone) -> Packed:
    """The batch of a draft whose numbers lie in `flat`, on the device: views, and no wait for the device."""
    numbers = dict(zip(draft.sizes, flat.split(list(draft.sizes.values())), strict=True))
    if backbone.runs_varlen:
        extent = draft.extent
        layout = RowLayout(rows=extent.rows, longest=extent.longest, cumulative=numbers["cumulative"], buckets=())
    else:
        layout = lay_out(draft.plan.lengths, flat.device)
    return Packed(
        input_ids=numbers["input_ids"],
        position_ids=numbers["position_ids"],
        layout=layout,
        plan=draft.plan,
        grouping=Grouping(
            language=tuple(open_group(group, numbers) for group in draft.grouping.language),
            task=tuple(open_group(group, numbers) for group in draft.grouping.task),
        ),
    )
