"""Loads that failed, remembered for a moment: whoever wants the same again is refused at once and costs nothing."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from madx.manifest import Digest

from ..errors import AdapterLoadFailed

FIRST_S = 5.0
LONGEST_S = 60.0
_MOST_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    reference: str
    message: str
    wait_s: float
    until_s: float


class FailedLoads:
    """Each failure in a row doubles the wait, from 5 s to 60 s. Safe to share between threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[Digest, _Failure] = OrderedDict()

    def remember(self, digest: Digest, reference: str, reason: str, *, is_permanent: bool) -> AdapterLoadFailed:
        """`is_permanent` where another attempt finds the same bytes: then the wait is the longest from the start."""
        with self._lock:
            before = self._failures.pop(digest, None)
            wait_s = LONGEST_S if is_permanent else FIRST_S if before is None else min(2 * before.wait_s, LONGEST_S)
            message = f"{reference} cannot be loaded: {reason}"
            until_s = self._clock() + wait_s
            self._failures[digest] = _Failure(reference=reference, message=message, wait_s=wait_s, until_s=until_s)
            if len(self._failures) > _MOST_REMEMBERED:
                self._failures.popitem(last=False)
        return AdapterLoadFailed(message, retry_after_s=ceil(wait_s))

    def refusal(self, digest: Digest) -> AdapterLoadFailed | None:
        """None where a load may be tried."""
        with self._lock:
            failure = self._failures.get(digest)
            left_s = 0.0 if failure is None else failure.until_s - self._clock()
            if failure is None or left_s <= 0:
                return None
            return AdapterLoadFailed(failure.message, retry_after_s=ceil(left_s))

    def forget(self, digest: Digest) -> None:
        """It was loaded."""
        with self._lock:
            self._failures.pop(digest, None)

    def forget_named(self, reference: str) -> None:
        """It was published again, which is how damaged weights are healed."""
        with self._lock:
            for digest in [digest for digest, failure in self._failures.items() if failure.reference == reference]:
                del self._failures[digest]

    def __len__(self) -> int:
        """How many are refused now."""
        with self._lock:
            now_s = self._clock()
            return sum(failure.until_s > now_s for failure in self._failures.values())
