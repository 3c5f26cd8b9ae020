"""Reads that may take for ever: each in a thread of its own, so many at once, and given up after a while.

A read holds a place from its beginning until its content is used, so that places bound what lies in memory. One whose
bytes do not come loses its place until they do, so that a store that hangs holds up only those who need it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from registry.errors import StoreUnavailable

SLOW_AFTER_S = 1.0
STALLED_AFTER_S = 5.0  # for the next bytes: those who share a thin line all get theirs late
MOST_THREADS = 256
_WATCHED_EVERY_S = 0.1

Came = Callable[[], None]
"""What a read calls whenever it has got bytes."""
_Content = TypeVar("_Content")


class NotBegun(Exception):
    """It was given up before it could begin, which says nothing of what would have been read."""


class _NobodyWaits(Exception):
    """Ends a read that was given up, when bytes come after all."""


@dataclass(slots=True, kw_only=True, eq=False)
class Fetch(Generic[_Content]):
    """`ended` gets the content or what reading it raised, once, and is then forgotten with all that it holds."""

    read: Callable[[Came], _Content]
    ended: "Callable[[Fetch[_Content], _Content | Exception], None] | None"
    came_s: float  # when it was wanted, began, or got bytes, whichever was last
    has_bytes: bool = False
    holds_place: bool = False


class Fetches(Generic[_Content]):
    """Safe to share between threads. They are daemons: a store that hangs must not keep the process from ending."""

    def __init__(
        self,
        *,
        at_once: int,
        timeout_s: float,
        slow_after_s: float = SLOW_AFTER_S,
        stalled_after_s: float = STALLED_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A read is given up `timeout_s` after its last bytes, one that waits so long after it was wanted."""
        self._at_once = at_once
        self._timeout_s = timeout_s
        self._slow_after_s = slow_after_s
        self._stalled_after_s = stalled_after_s
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[Fetch[_Content]] = deque()
        self._running: set[Fetch[_Content]] = set()
        self._places = 0
        self._is_closed = False
        threading.Thread(target=self._watch, name="glossa-fetch-watch", daemon=True).start()

    def start(
        self, read: Callable[[Came], _Content], ended: "Callable[[Fetch[_Content], _Content | Exception], None]"
    ) -> None:
        """Now, or when others have ended. Where it is given up, `ended` gets `StoreUnavailable` or `NotBegun`."""
        fetch = Fetch(read=read, ended=ended, came_s=self._clock())
        with self._changed:
            if not self._is_closed:
                self._waiting.append(fetch)
                self._begin()
                self._changed.notify_all()
                return
        ended(fetch, NotBegun())

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

    def _take(self, fetch: Fetch[_Content]) -> None:
        if not fetch.holds_place:
            fetch.holds_place = True
            self._places += 1

    def _free(self, fetch: Fetch[_Content]) -> None:
        if fetch.holds_place:
            fetch.holds_place = False
            self._places -= 1

    def _begin(self) -> None:
        while self._waiting and self._places < self._at_once and len(self._running) < MOST_THREADS:
            fetch = self._waiting.popleft()
            thread = threading.Thread(target=self._run, args=(fetch,), name="glossa-fetch", daemon=True)
            try:
                thread.start()  # waits for this lock before it changes anything
            except RuntimeError:  # the system has no thread for this process now; `_watch` tries again
                self._waiting.appendleft(fetch)
                return
            fetch.came_s = self._clock()
            self._take(fetch)
            self._running.add(fetch)

    def _run(self, fetch: Fetch[_Content]) -> None:
        outcome: _Content | Exception
        try:
            outcome = fetch.read(lambda: self._came(fetch))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            outcome = error
        with self._changed:
            self._running.discard(fetch)
            ended, fetch.ended = fetch.ended, None
            if ended is None:
                self._free(fetch)
            else:
                self._take(fetch)  # what it has read lies in memory until it is used
            self._begin()
        if ended is not None:
            ended(fetch, outcome)

    def _came(self, fetch: Fetch[_Content]) -> None:
        with self._changed:
            if fetch.ended is None:
                raise _NobodyWaits
            fetch.came_s = self._clock()
            fetch.has_bytes = True
            self._take(fetch)

    def _watch(self) -> None:
        while True:
            with self._changed:
                busy = self._waiting or any(fetch.ended is not None for fetch in self._running)
                self._changed.wait(_WATCHED_EVERY_S if busy and not self._is_closed else None)
                given_up = self._given_up()
                self._begin()
                is_closed = self._is_closed
            for tell in given_up:
                tell()
            if is_closed:
                return

    def _given_up(self) -> list[Callable[[], None]]:
        """Tells those who wait for what is given up now. Takes the places of those whose bytes do not come."""
        now_s = self._clock()
        given_up: list[Callable[[], None]] = []
        for fetch in self._running:
            silent_s = now_s - fetch.came_s
            if silent_s > (self._stalled_after_s if fetch.has_bytes else self._slow_after_s):
                self._free(fetch)
            if silent_s > self._timeout_s and fetch.ended is not None:
                self._free(fetch)
                error = StoreUnavailable(f"nothing came from the blob store for {self._timeout_s:g} s")
                given_up.append(partial(fetch.ended, fetch, error))
                fetch.ended = None
        while self._waiting and (self._is_closed or now_s - self._waiting[0].came_s > self._timeout_s):
            fetch = self._waiting.popleft()
            assert fetch.ended is not None  # nobody else gives up what waits
            given_up.append(partial(fetch.ended, fetch, NotBegun()))
            fetch.ended = None
        return given_up
