"""Whether what stands behind the server answers: asked beside the requests, one question at a time, by `/health/ready`.

A database or a store that hangs keeps one thread, however often it is asked for, and none that requests need.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from madx.manifest import digest_of
from registry.database import revision_of
from registry.registry import Registry

from .logs import where

_log = logging.getLogger(__name__)
_DATABASE_FRESH_S = 1.0
_STORE_FRESH_S = 10.0
_PATIENCE_S = 2.0


class Probe:
    """Used by one event loop. An answer holds for `fresh_s`, a question is given `patience_s`."""

    def __init__(
        self, name: str, ask: Callable[[], object], *, fresh_s: float, patience_s: float = _PATIENCE_S
    ) -> None:
        self._name = name
        self._ask = ask
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._asked: asyncio.Future[bool] | None = None
        self._asked_s = 0.0
        self._answered_s = 0.0
        self._was_well = True

    async def answers(self) -> bool:
        """At once, unless a question is under way that has not had its time yet."""
        asked = self._asked
        if asked is None or (asked.done() and time.monotonic() - self._answered_s > self._fresh_s):
            asked = self._asked = self._begin()
        await asyncio.wait((asked,), timeout=max(0.0, self._asked_s + self._patience_s - time.monotonic()))
        is_well = asked.done() and asked.result()
        if is_well != self._was_well:
            self._was_well = is_well
            _log.warning("the %s %s", self._name, "answers again" if is_well else "does not answer")
        return is_well

    def _begin(self) -> "asyncio.Future[bool]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._asked_s = time.monotonic()

        def ask() -> None:
            try:
                self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
                _log.debug("the %s failed: %s", self._name, where(error))
                is_well = False
            else:
                is_well = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
                loop.call_soon_threadsafe(self._told, answer, is_well)

        # A daemon: the process may end while a database hangs.
        threading.Thread(target=ask, name=f"glossa-probe-{self._name}", daemon=True).start()
        return answer

    def _told(self, answer: "asyncio.Future[bool]", is_well: bool) -> None:
        self._answered_s = time.monotonic()
        answer.set_result(is_well)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    database: Probe
    store: Probe


def probes_of(registry: Registry) -> Probes:
    """The store is asked for a blob that it need not have."""
    return Probes(
        database=Probe("database", lambda: revision_of(registry.database), fresh_s=_DATABASE_FRESH_S),
        store=Probe("store", lambda: registry.store.exists(digest_of(b"")), fresh_s=_STORE_FRESH_S),
    )
