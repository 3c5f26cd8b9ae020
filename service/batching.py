"""Which rows run next: a pure function over values, no asyncio and no torch.

Rows are taken in the order of their arrival, but a request's later rows stand as far behind as if they had come later,
so that a bulk request does not hold up small ones. The first in line is always taken: nobody starves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from madx.manifest import Digest

AGEING_TOKENS_PER_S = 4_000
"""A second of waiting outweighs this many tokens of the same request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Row `row` of request `work`. `tokens_before` counts the tokens of that request's earlier rows."""

    work: int
    row: int
    tokens: int
    arrived_s: float
    tokens_before: int = 0
    adapters: tuple[Digest, ...] = ()

    @property
    def turn(self) -> tuple[float, int, int]:
        """Rows are taken in ascending order of this."""
        return (self.arrived_s + self.tokens_before / AGEING_TOKENS_PER_S, self.work, self.row)


def choose(
    pending: Sequence[Waiting], *, budget_tokens: int, budget_bytes: int, adapter_bytes: Mapping[Digest, int]
) -> list[Waiting]:
    """The rows of the next batch, first in line first: at most `budget_tokens`, on adapters of at most `budget_bytes`.

    A row that does not fit beside those before it waits; smaller ones behind it may still go. The first in line is
    taken whatever its size, since admission refuses rows that fit no batch.
    """
    chosen: list[Waiting] = []
    adapters: set[Digest] = set()
    tokens = size_bytes = 0
    for waiting in sorted(pending, key=lambda row: row.turn):
        new = set(waiting.adapters) - adapters
        new_bytes = sum(adapter_bytes[digest] for digest in new)
        fits = tokens + waiting.tokens <= budget_tokens and size_bytes + new_bytes <= budget_bytes
        if chosen and not fits:
            continue
        chosen.append(waiting)
        adapters |= new
        tokens += waiting.tokens
        size_bytes += new_bytes
        if tokens >= budget_tokens:
            break
    return chosen
