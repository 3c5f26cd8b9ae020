"""What changes in the registry, told to whoever keeps something of it in memory: cached answers, weights on the device.

This process's own writes are told before they are answered; those of others within about `interval_s`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from registry import catalog
from registry.registry import Registry
from registry.values import Event

from .logs import where

INTERVAL_S = 1.0
_PAGE = 200

_log = logging.getLogger(__name__)

Listener = Callable[[Sequence[Event]], None]
"""Called in any thread, one call at a time, and must be quick: a write may be waiting for it."""


class Watcher:
    """Safe to share between threads. Every event after `open` reaches every listener once, in order."""

    def __init__(self, registry: Registry, *, interval_s: float = INTERVAL_S) -> None:
        self._registry = registry
        self._interval_s = interval_s
        self._listeners: list[Listener] = []
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._last_id = 0
        self._looked_s = 0.0
        self._failing = False

    def subscribe(self, listener: Listener) -> None:
        """From the next event on."""
        self._listeners.append(listener)

    @property
    def age_s(self) -> float:
        """Seconds since the registry was last looked at with success: so old may be what listeners know."""
        return time.monotonic() - self._looked_s

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the block runs. Raises `DatabaseUnavailable` where there is nothing to look at."""
        self._last_id = catalog.newest_event_id(self._registry)
        self._looked_s = time.monotonic()
        self._registry.database.on_event.append(self.look)
        # A daemon: a database that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._watch, name="glossa-watcher", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            self._registry.database.on_event.remove(self.look)
            thread.join(self._interval_s)

    def look(self) -> None:
        """Tell all that has happened since the last look. What fails is logged, and tried again at the next one."""
        try:
            with self._looking:
                self._catch_up()
        except Exception as error:  # noqa: BLE001 - must fail no write, nor end the thread that looks again
            if not self._failing:
                _log.warning("changes in the registry are not seen at present: %s", where(error))
            self._failing = True

    def _catch_up(self) -> None:
        while True:
            started_s = time.monotonic()
            events = catalog.events_after(self._registry, self._last_id, limit=_PAGE)
            self._failing = False
            if events:
                self._last_id = events[-1].id
                self._tell(events)
            if len(events) < _PAGE:
                self._looked_s = started_s
                return

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            try:
                listener(events)
            except Exception as error:  # noqa: BLE001 - must fail neither somebody's write nor other listeners
                _log.error("a listener to the registry's changes failed: %s", where(error))

    def _watch(self) -> None:
        while not self._closed.wait(self._interval_s):
            self.look()
