"""Refuse early: counts what is accepted and not answered yet, by key. Used by the event loop's thread alone.

The unit is the token of the bare backbone (`batching.Costs`). The queue holds as much as may be computed in `queue_s`.
A request comes in where that much is free, one of more than a quarter of the queue where a quarter is: else small ones,
which always find some room, would keep it out for ever.

A key may hold at most `SHARE` times what is still free, so that one that floods the queue leaves room for the next:
the dynamic threshold of A. Choudhury and E. Hahne, IEEE/ACM Transactions on Networking 6 (2), 1998. While another key
asks too, it may hold no more than about a second's work: preparing what would wait longer than that takes time of the
processor's just when the other one needs it.
"""

import math
import time
from collections.abc import Callable, Sequence

from .batching import Costs
from .errors import BodyTooLarge, QueueFull
from .metrics import Metrics
from .sharing import Sharing
from .work import AskedRow

SHARE = 2.0
_OF_SHARED = 0.1
"""Of the capacity, in what one key holds while another asks too."""
_CRUMB_TOKENS = 32.0
"""Less room than this is none: a request would be tokenised only to be refused."""
_MOST_ROOM = 0.25
"""Of the capacity, that a request needs: less than what one key that floods the queue leaves free."""
_LONGEST_RETRY_S = 60
_MEMORY = 0.9
"""What a measured rate keeps of itself at each batch."""


class Admission:
    """`admit` before a request is queued, `release` once it is answered, however that went."""

    def __init__(
        self,
        costs: Costs,
        *,
        queue_tokens: int,
        queue_s: float,
        batch_tokens: int,
        batch_masked: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A batch holds at most `batch_tokens`, and `batch_masked` positions that the masked-LM head reads."""
        self._costs = costs
        self._largest = queue_tokens
        self._queue_s = queue_s
        self._batch_tokens = batch_tokens
        self._batch_masked = batch_masked
        self._metrics = metrics
        self._clock = clock
        self._tokens = 0.0
        self._held: dict[str, float] = {}
        self._sharing = Sharing()
        self._requests = 0
        self._ran_tokens = 1.0
        self._ran_s = costs.seconds_per_token
        self._capacity = self._computed_in(queue_s)

    def _computed_in(self, seconds: float) -> float:
        """At the calibrated rate, or the measured one where that is higher: small batches are slow for their size."""
        rate = max(1 / self._costs.seconds_per_token, self._ran_tokens / self._ran_s)
        return max(1.0, min(self._largest, seconds * rate))

    def check_room(self, key: str) -> None:
        """Raises `QueueFull` where hardly any request of `key` would be admitted now."""
        self._check_fits(min(_CRUMB_TOKENS, self._capacity / 16), key)

    def admit(self, rows: Sequence[AskedRow], key: str) -> float:
        """A request's cost, now counted for `key`. Raises `BodyTooLarge` or `QueueFull`."""
        self._check_sizes(rows)
        cost = self._cost(rows)
        if cost > self._largest:
            raise self._refused(
                BodyTooLarge(
                    f"the request has {math.ceil(cost)} tokens, more than the {self._largest} of the whole queue"
                )
            )
        self._check_fits(cost, key)
        self._held[key] = self._held.get(key, 0.0) + cost
        self._sharing.see(key, self._clock())
        self._count(cost, 1)
        return cost

    def fits(self, rows: Sequence[AskedRow], key: str) -> bool:
        """Whether there is room for what has the right sizes. A look that refuses nothing, and counts nothing."""
        return self._lack(self._cost(rows), key) is None

    def release(self, cost: float, key: str) -> None:
        self._count(-cost, -1)
        held = self._held[key] - cost
        if held > 1e-6:  # what is left of a sum of others
            self._held[key] = held
        else:
            del self._held[key]
        self._sharing.see(key, self._clock())

    def ran(self, cost: float, seconds: float) -> None:
        """A batch has run: how much may wait, and for how long."""
        self._ran_tokens = _MEMORY * self._ran_tokens + cost
        self._ran_s = _MEMORY * self._ran_s + seconds
        self._capacity = self._computed_in(self._queue_s)

    def _check_sizes(self, rows: Sequence[AskedRow]) -> None:
        longest, masked = max(len(row.input_ids) for row in rows), max(row.masked for row in rows)
        if longest > self._batch_tokens:
            raise self._refused(
                BodyTooLarge(f"a row of {longest} tokens fits no batch: a batch holds {self._batch_tokens}")
            )
        if masked > self._batch_masked:
            raise self._refused(
                BodyTooLarge(f"a text with {masked} masks fits no batch: a batch holds {self._batch_masked}")
            )

    def _cost(self, rows: Sequence[AskedRow]) -> float:
        return sum(self._costs.of_row(len(row.input_ids), row.masked) for row in rows)

    def _check_fits(self, cost: float, key: str) -> None:
        reason = self._lack(cost, key)
        if reason is not None:
            raise self._full(reason)

    def _lack(self, cost: float, key: str) -> str | None:
        """Why there is no room. Whatever comes to an empty queue fits."""
        room = min(cost, _MOST_ROOM * self._capacity)
        free = self._capacity - self._tokens
        if self._requests and room > free:
            return "the queue is full"
        held = self._held.get(key, 0.0)
        if key and held and held + room > self._most_held(key, free):
            return "this key holds as much of the queue as it may"
        return None

    def _most_held(self, key: str, free: float) -> float:
        most = SHARE * free
        if self._sharing.is_beside_others(key, self._clock()):
            return min(most, _OF_SHARED * self._capacity)
        return most

    def _full(self, reason: str) -> QueueFull:
        half_s = self._tokens / 2 * self._ran_s / self._ran_tokens
        error = QueueFull(
            f"{reason}; try again after the time in Retry-After",
            retry_after_s=min(_LONGEST_RETRY_S, max(1, math.ceil(half_s))),
        )
        self._refused(error)
        return error

    def _count(self, cost: float, requests: int) -> None:
        self._requests += requests
        self._tokens = self._tokens + cost if self._requests else 0.0  # sums of floats do not end at zero
        self._metrics.queue_tokens.set(self._tokens)
        self._metrics.queue_requests.set(self._requests)

    def _refused(self, error: BodyTooLarge | QueueFull) -> BodyTooLarge | QueueFull:
        self._metrics.rejections.labels(reason=error.code).inc()
        return error
