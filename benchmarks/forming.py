"""How our side's rows become batches: those that the server's own policy would form, or as many tokens as one names.

A served batch is bounded by time, so on a CPU it has a few hundred tokens, and every distinct adapter makes it smaller.
Where batches run side by side, each takes no more than its part of the rows that are left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from madx.manifest import Digest
from madx.plan import IDENTITY, RowStack, Slot
from service.batching import BatchLimits, Costs, Waiting, choose
from service.calibration import fit, measure
from service.device_thread import in_lanes
from service.model import Model
from service.settings import Settings

from .traffic import Ask, batches

StackOf = Callable[[Ask], RowStack]
Forming = Callable[[Sequence[Ask], StackOf], list[list[Ask]]]
"""Rows in their order, and which stack each runs through -> batches with every row in exactly one."""

_BATCH_TOKENS: int = Settings.model_fields["batch_tokens"].default
_BATCH_S: float = Settings.model_fields["batch_s"].default
_ALL_BYTES = 1 << 60


def of_tokens(budget_tokens: int) -> Forming:
    """At most so many tokens, as they come."""
    return lambda rows, _stack_of: batches(rows, budget_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """As the server's device thread takes them out of its queue, all adapters being on the device."""

    costs: Costs
    limits: BatchLimits
    lanes: int

    def __call__(self, rows: Sequence[Ask], stack_of: StackOf) -> list[list[Ask]]:
        line = [self._waiting(number, ask, stack_of(ask)) for number, ask in enumerate(rows)]
        sizes = {name: 1 for one in line for name in (one.language, one.task) if name is not None}
        formed: list[list[Ask]] = []
        while line:
            limits = self.limits.part(sum(one.cost for one in line) / self.lanes)
            chosen = choose(line, limits=limits, costs=self.costs, sizes=sizes, resident=sizes, now_s=0.0).batch
            formed.append([rows[one.work] for one in chosen])
            taken = {one.work for one in chosen}
            line = [one for one in line if one.work not in taken]
        return formed

    def _waiting(self, number: int, ask: Ask, stack: RowStack) -> Waiting:
        return Waiting(
            work=number,
            row=0,
            tokens=len(ask.ids),
            cost=self.costs.of_row(len(ask.ids), 0),
            rank_s=float(number),
            language=_name(stack.language),
            task=_name(stack.task),
        )


def _name(slot: Slot) -> Digest | None:
    return None if slot == IDENTITY else Digest(f"slot {slot}")


def as_served(model: Model) -> Policy:
    """By the server's defaults, calibrated on this machine as the server does when it starts."""
    costs = fit(measure(model), model.loaded.config)
    limits = BatchLimits(tokens=_BATCH_TOKENS, masked=1, size_bytes=_ALL_BYTES, cost=costs.within(_BATCH_S))
    if model.lanes is None:
        return Policy(costs=costs, limits=limits, lanes=1)
    return Policy(costs=costs, limits=in_lanes(limits, model.lanes.number), lanes=model.lanes.number)
