"""Reads that may take for ever: each in a thread of its own, so many at once, and given up after a while.

A read that is slow no longer counts as one of those, so that a store that hangs, or a large file, holds up only those
who need it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from registry.errors import StoreUnavailable

SLOW_AFTER_S = 1.0
MOST_THREADS = 256
_WATCHED_EVERY_S = 0.1

_Content = TypeVar("_Content")


@dataclass(slots=True, kw_only=True, eq=False)
class Fetch(Generic[_Content]):
    """`ended` gets the content or what reading it raised, once, and is then forgotten with all that it holds.

    `holds_place` until it is slow, or `Fetches.leave`.
    """

    read: Callable[[], _Content]
    ended: "Callable[[Fetch[_Content], _Content | Exception], None] | None"
    wanted_s: float = field(default_factory=time.monotonic)
    started_s: float | None = None
    holds_place: bool = False


class Fetches(Generic[_Content]):
    """Safe to share between threads. They are daemons: a store that hangs must not keep the process from ending."""

    def __init__(self, *, at_once: int, timeout_s: float, slow_after_s: float = SLOW_AFTER_S) -> None:
        self._at_once = at_once
        self._timeout_s = timeout_s
        self._slow_after_s = slow_after_s
        self._changed = threading.Condition()
        self._waiting: deque[Fetch[_Content]] = deque()
        self._running: set[Fetch[_Content]] = set()
        self._places = 0
        self._is_closed = False
        threading.Thread(target=self._watch, name="glossa-fetch-watch", daemon=True).start()

    def start(
        self, read: Callable[[], _Content], ended: "Callable[[Fetch[_Content], _Content | Exception], None]"
    ) -> None:
        """Now, or when others have ended. `ended` gets `StoreUnavailable` where it is given up."""
        with self._changed:
            self._waiting.append(Fetch(read=read, ended=ended))
            self._begin()
            self._changed.notify_all()

    def leave(self, fetch: Fetch[_Content]) -> None:
        """Let another one begin. Called by whoever uses the content, when it no longer only lies in memory."""
        with self._changed:
            self._free(fetch)
            self._begin()

    def close(self) -> None:
        """What waits is given up; what runs goes on, and nobody waits for it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _free(self, fetch: Fetch[_Content]) -> None:
        if fetch.holds_place:
            fetch.holds_place = False
            self._places -= 1

    def _begin(self) -> None:
        while self._waiting and self._places < self._at_once and len(self._running) < MOST_THREADS:
            fetch = self._waiting.popleft()
            fetch.started_s = time.monotonic()
            fetch.holds_place = True
            self._places += 1
            self._running.add(fetch)
            threading.Thread(target=self._run, args=(fetch,), name="glossa-fetch", daemon=True).start()

    def _run(self, fetch: Fetch[_Content]) -> None:
        outcome: _Content | Exception
        try:
            outcome = fetch.read()
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            outcome = error
        with self._changed:
            self._running.discard(fetch)
            self._begin()
        self._settle(fetch, outcome)

    def _settle(self, fetch: Fetch[_Content], outcome: _Content | Exception) -> None:
        """Once: a read that ends after it was given up changes nothing."""
        with self._changed:
            ended, fetch.ended = fetch.ended, None
        if ended is not None:
            ended(fetch, outcome)

    def _watch(self) -> None:
        while True:
            with self._changed:
                busy = self._waiting or any(fetch.ended is not None for fetch in self._running)
                self._changed.wait(_WATCHED_EVERY_S if busy and not self._is_closed else None)
                given_up = self._overdue()
                is_closed = self._is_closed
            for fetch in given_up:
                self._settle(fetch, StoreUnavailable(f"the blob store did not answer within {self._timeout_s:g} s"))
            if is_closed:
                return

    def _overdue(self) -> list[Fetch[_Content]]:
        """Those to give up now. Takes the places of slow ones away."""
        now_s = time.monotonic()
        for fetch in self._running:
            if fetch.started_s is not None and now_s - fetch.started_s > self._slow_after_s:
                self._free(fetch)
        late = [
            fetch
            for fetch in (*self._running, *self._waiting)
            if fetch.ended is not None and now_s - fetch.wanted_s > self._timeout_s
        ]
        if self._is_closed:
            late.extend(fetch for fetch in self._waiting if fetch not in late)
        self._waiting = deque(fetch for fetch in self._waiting if fetch not in late)
        self._begin()
        return late
