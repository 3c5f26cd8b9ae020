"""How many bytes of bodies may be in one step on their way to the queue: beyond, requests are refused, or wait.

`admission` counts what is accepted; this bounds what is worked on, or kept, before anybody knows what it costs.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .errors import QueueFull
from .metrics import Metrics

_RETRY_AFTER_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Of a body of `size_bytes`, by whom `key` names. Who `waits` is not refused."""

    size_bytes: int
    key: str
    waits: bool


class Room:
    """Belongs to one event loop.

    A body counts for half of the room at most, and one key gets half, so that the largest ones leave room to others.
    Whatever comes to an empty room fits.
    """

    def __init__(self, limit_bytes: int, metrics: Metrics) -> None:
        self._half = max(1, limit_bytes // 2)
        self._metrics = metrics
        self._taken = 0
        self._held: dict[str, int] = {}
        self._freed = asyncio.Event()

    async def enter(self, claim: Claim) -> Callable[[], None]:
        """What gives the place back. Raises `QueueFull` where there is none for who does not wait."""
        size_bytes = max(1, min(claim.size_bytes, self._half))
        while not self._fits(size_bytes, claim.key):
            if not claim.waits:
                self._metrics.rejections.labels(reason=QueueFull.code).inc()
                raise QueueFull(
                    "too many requests are being prepared; try again after the time in Retry-After",
                    retry_after_s=_RETRY_AFTER_S,
                )
            await self._freed.wait()
        self._count(size_bytes, claim.key)
        return lambda: self._leave(size_bytes, claim.key)

    def _fits(self, size_bytes: int, key: str) -> bool:
        is_within_share = not key or self._held.get(key, 0) + size_bytes <= self._half
        return is_within_share and self._taken + size_bytes <= 2 * self._half

    def _count(self, size_bytes: int, key: str) -> None:
        self._taken += size_bytes
        held = self._held.get(key, 0) + size_bytes
        if held:
            self._held[key] = held
        else:
            del self._held[key]

    def _leave(self, size_bytes: int, key: str) -> None:
        self._count(-size_bytes, key)
        self._freed.set()
        self._freed = asyncio.Event()
