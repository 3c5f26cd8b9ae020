"""How long a transfer waits for a server that is away: some tries with growing pauses, anew after each progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from .connection import ClientError

Answer = TypeVar("Answer")
OnWait = Callable[[ClientError, float], None]


@dataclass(slots=True, kw_only=True)
class Patience:
    """`on_wait` is told the error and the seconds of the pause that follows it. With the defaults, a server may be away
    for about four minutes.
    """

    tries: int = 12
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    on_wait: OnWait | None = None
    sleep: Callable[[float], None] = time.sleep
    _failures: int = field(default=0, init=False)
    _has_connected: bool = field(default=False, init=False)

    def progressed(self) -> None:
        self._failures = 0
        self._has_connected = True

    def wait(self, error: ClientError) -> None:
        """Pause before the next try; raises `error` where another would not help, or there were enough.

        A server that was never there is not waited for: the address is wrong.
        """
        self._has_connected = self._has_connected or not error.is_unconnected
        self._failures += 1
        if not error.may_pass or not self._has_connected or self._failures >= self.tries:
            raise error
        pause_s = min(self.longest_pause_s, self.first_pause_s * 2 ** (self._failures - 1))
        pause_s = max(pause_s, min(error.retry_after_s or 0.0, self.longest_pause_s))
        if self.on_wait is not None:
            self.on_wait(error, pause_s)
        self.sleep(pause_s)

    def until_it_passes(self, request: Callable[[], Answer]) -> Answer:
        """Its answer. Only for requests that may come twice. Raises what `wait` raises."""
        while True:
            try:
                answer = request()
            except ClientError as error:
                self.wait(error)
                continue
            self._has_connected = True
            return answer
