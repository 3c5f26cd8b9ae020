"""A thread that looks after what is served while nobody asks: it loads what references have moved to, and pins."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from registry.values import Event

from ..logs import where
from .pins import Pins
from .switching import Switching

TENDED_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class Tending:
    """Tends at once when the registry changes, and every `interval_s`."""

    def __init__(self, switching: Switching, pins: Pins, *, interval_s: float = TENDED_EVERY_S) -> None:
        self._switching = switching
        self._pins = pins
        self._interval_s = interval_s
        self._is_due = threading.Event()
        self._is_closed = False

    def heard(self, events: Sequence[Event]) -> None:
        """For `Watcher.subscribe`."""
        self._switching.heard(events)
        self._is_due.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs."""
        self._is_due.set()
        # A daemon: a database that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._run, name="glossa-tender", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_closed = True
            self._is_due.set()
            thread.join(self._interval_s)

    def _run(self) -> None:
        while True:
            has_moved = self._is_due.wait(self._interval_s)
            self._is_due.clear()
            if self._is_closed:
                return
            try:
                self._switching.tend()
                self._pins.tend(may_have_moved=has_moved)
            except Exception as error:  # noqa: BLE001 - the next round may fare better
                _log.error("what is served could not be looked after: %s", where(error))
