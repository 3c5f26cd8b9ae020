"""Which rows run next, and which of them side by side: pure functions over values, no asyncio and no torch.

Half of a batch is taken from the line in its order (`line` has that), the other half from the next few rows, those
first whose adapters the batch has already: their weights are then read once. So a row moves forward by at least half a
batch at each turn, and the first in line is always taken: nobody starves. What is late is left out.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from madx.manifest import Digest

LOOKAHEAD = 4
"""So many batches' worth of rows are looked at."""
_TELLING = 1 / 3
"""Of the limit: a batch of less says more of what beginning one takes than of the machine's speed."""
_OF_SHARED = 1 / 8
"""Of a batch's time, while several keys ask."""
_SHORTEST = 1 / 8
"""Of a batch's time, however little its first row has waited."""
_LARGEST_SHARE = 0.7
"""Of two parts' cost, in one of them. Beyond it, all cores on one operation at a time are faster."""
_STEP = 1.25
"""How far one batch moves the limit at most, so that a moment in which the machine stood still is soon made good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What rows cost, in tokens of the bare backbone, and what such a token costs in seconds. `calibration` fits them.

    A row of T tokens costs T + `attention` T², and `masked` for each position that the masked-LM head reads. A batch
    costs its rows, and `language` and `task` for each distinct adapter. `fixed_s` is what the smallest batch takes.
    """

    seconds_per_token: float
    fixed_s: float = 0.0
    attention: float = 0.0
    language: float = 0.0
    task: float = 0.0
    masked: float = 0.0

    def of_row(self, tokens: int, masked: int) -> float:
        return tokens + self.attention * tokens * tokens + self.masked * masked

    def of_batch(self, rows: Iterable["Waiting"]) -> float:
        """The rows, and each distinct adapter once."""
        rows = list(rows)
        languages = {row.language for row in rows} - {None}
        tasks = {row.task for row in rows} - {None}
        return sum(row.cost for row in rows) + self.language * len(languages) + self.task * len(tasks)

    def within(self, seconds: float) -> float:
        """What a batch of `seconds` may cost: at least what half of the time is enough for."""
        return max(1.0, self._beyond_fixed(seconds) / self.seconds_per_token)

    def paced(self, cost_limit: float, *, cost: float, seconds: float, within_s: float) -> float:
        """The next batches' limit after a batch of `cost`, adapters included, took `seconds`.

        A step towards what `within_s` is enough for at that batch's speed: the machine may have been slower when it was
        calibrated than it is now, or faster.
        """
        if cost < _TELLING * cost_limit:
            return cost_limit
        enough = cost * self._beyond_fixed(within_s) / self._beyond_fixed(max(seconds, 1e-9))
        return max(1.0, min(max(enough, cost_limit / _STEP), cost_limit * _STEP))

    def _beyond_fixed(self, seconds: float) -> float:
        """What of a batch's time is due to its cost: at least half."""
        return max(seconds - self.fixed_s, seconds / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """`tokens`, `masked` positions and `size_bytes` of adapters are what memory holds. `cost` is what a batch should
    take at most, in the unit of `Costs`, and `share` its rows without their adapters; the first row may exceed both.
    """

    tokens: int
    masked: int
    size_bytes: int
    cost: float
    share: float = math.inf

    def for_wait(self, waited: float) -> "BatchLimits":
        """Of a batch whose first row has waited for so large a part of a whole batch's time: it takes about as long.

        So it hardly more than doubles a wait, and who comes when a queue has just begun to form is not held up by it.
        """
        return self._shortened(min(max(waited, _SHORTEST), 1.0))

    def shared(self) -> "BatchLimits":
        """While several keys ask: a part of the time, so that one waits less for what runs of the others."""
        return self._shortened(_OF_SHARED)

    def _shortened(self, part: float) -> "BatchLimits":
        return replace(self, cost=max(1.0, part * self.cost))

    def part(self, share: float) -> "BatchLimits":
        """No more than so much of what waits, so that others have some too."""
        return replace(self, share=share)

    def times(self, batches: int) -> "BatchLimits":
        """Of so many batches together."""
        return replace(self, tokens=self.tokens * batches, masked=self.masked * batches, cost=self.cost * batches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Row `row` of request `work`, asked for with `key`. Rows of one key stand in the order of `rank_s`.

    `masked` counts the positions that the masked-LM head reads. From `deadline_s` on nobody wants its answer.
    """

    work: int
    row: int
    tokens: int
    cost: float
    rank_s: float
    masked: int = 0
    key: str = ""
    deadline_s: float = math.inf
    language: Digest | None = None
    task: Digest | None = None


@dataclass(slots=True)
class _Batch:
    """What has been taken so far."""

    limits: BatchLimits
    costs: Costs
    sizes: Mapping[Digest, int]
    rows: list[Waiting] = field(default_factory=list)
    adapters: set[Digest] = field(default_factory=set)
    tokens: int = 0
    masked: int = 0
    size_bytes: int = 0
    cost: float = 0.0
    rows_cost: float = 0.0

    @property
    def is_half_full(self) -> bool:
        limits = self.limits
        return 2 * self.cost >= limits.cost or 2 * self.rows_cost >= limits.share or 2 * self.tokens >= limits.tokens

    def take_if_it_fits(self, waiting: Waiting) -> bool:
        tokens, masked = self.tokens + waiting.tokens, self.masked + waiting.masked
        cost, rows_cost, size_bytes = self.cost + waiting.cost, self.rows_cost + waiting.cost, self.size_bytes
        language, task = waiting.language, waiting.task
        if language is not None and language not in self.adapters:
            cost += self.costs.language
            size_bytes += self.sizes[language]
        if task is not None and task not in self.adapters:
            cost += self.costs.task
            size_bytes += self.sizes[task]
        limits = self.limits
        fits = cost <= limits.cost and rows_cost <= limits.share and size_bytes <= limits.size_bytes
        if self.rows and not (fits and tokens <= limits.tokens and masked <= limits.masked):
            return False
        self.rows.append(waiting)
        self.adapters.update(digest for digest in (language, task) if digest is not None)
        self.tokens, self.masked, self.size_bytes = tokens, masked, size_bytes
        self.cost, self.rows_cost = cost, rows_cost
        return True

    def new_bytes(self, waiting: Waiting, resident: Collection[Digest]) -> int:
        """Weights that a row would add; twice those that have no slot yet."""
        return sum(
            self.sizes[digest] * (1 if digest in resident else 2)
            for digest in (waiting.language, waiting.task)
            if digest is not None and digest not in self.adapters
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rows that run next, and those whose deadline has passed, of all that were looked at."""

    batch: list[Waiting]
    late: list[Waiting]


def choose(
    in_turn: Iterable[Waiting],
    *,
    limits: BatchLimits,
    costs: Costs,
    sizes: Mapping[Digest, int],
    now_s: float,
    resident: Collection[Digest] = (),
) -> Choice:
    """A batch begins with the first row of `in_turn` that is not late. `sizes` has the bytes of every adapter.

    A row that does not fit beside those before it waits; smaller ones behind it may still go. The first in line is
    taken whatever its size, since admission refuses rows that fit no batch.
    """
    batch = _Batch(limits=limits, costs=costs, sizes=sizes)
    later: list[Waiting] = []
    late: list[Waiting] = []
    cost = tokens = 0.0
    for waiting in in_turn:
        if waiting.deadline_s <= now_s:
            late.append(waiting)
            continue
        if batch.is_half_full or not batch.take_if_it_fits(waiting):
            later.append(waiting)
        cost += waiting.cost
        tokens += waiting.tokens
        if cost >= LOOKAHEAD * min(limits.cost, limits.share) or tokens >= LOOKAHEAD * limits.tokens:
            break
    later.sort(key=lambda waiting: batch.new_bytes(waiting, resident))  # stable: among equals the line's order
    for waiting in later:
        batch.take_if_it_fits(waiting)
    return Choice(batch=batch.rows, late=late)


def split(batch: Sequence[Waiting], parts: int) -> list[list[Waiting]]:
    """About equal in cost, rows of one language together; one part if they do not divide.

    A cut may go through a language's rows, whose adapter then is read for both parts.
    """
    total = sum(waiting.cost for waiting in batch)
    shares: list[list[Waiting]] = [[] for _ in range(parts)]
    costs = [0.0] * parts
    before = 0.0
    for waiting in sorted(batch, key=lambda waiting: (waiting.language or "", waiting.task or "")):
        part = min(parts - 1, int((before + waiting.cost / 2) * parts / total))  # where the row's middle falls
        shares[part].append(waiting)
        costs[part] += waiting.cost
        before += waiting.cost
    if max(costs) * parts > 2 * _LARGEST_SHARE * total:
        return [list(batch)]
    return [share for share in shares if share]
