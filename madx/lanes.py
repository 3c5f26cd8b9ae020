"""Lanes: threads that compute by themselves, so that a CPU runs as many batches at once as it has cores.

A forward is hundreds of short operations. Spread over the cores one by one, each ends in a wait for the slowest core,
which is long where another process has taken one; lanes wait for nobody.
"""

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from .threads import OneThread

_Result = TypeVar("_Result")
_Work = SimpleQueue[Callable[[], None] | None]

LANE_TOKENS = 1024
"""About as many in one batch, so that what flows between layers stays in the processor's cache."""


class Lanes:
    """Threads that end with it. Safe to share between threads."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._work: _Work = SimpleQueue()
        one_thread, ready = OneThread(), threading.Barrier(number + 1)
        for lane in range(number):
            # Daemons: a forward that hangs must not keep the process from ending.
            threading.Thread(
                target=_run, args=(self._work, one_thread, ready), name=f"glossa-lane-{lane}", daemon=True
            ).start()
        weakref.finalize(self, _end, self._work, number)
        ready.wait()  # until none of them changes torch's number of threads any more

    def submit(self, compute: Callable[[], _Result]) -> "Future[_Result]":
        """What the next free lane computes, or raises. What is called when the future is done runs in the lane."""
        future: Future[_Result] = Future()
        self._work.put(lambda: _settle(future, compute))
        return future


def _settle(future: "Future[_Result]", compute: Callable[[], _Result]) -> None:
    try:
        result = compute()
    except BaseException as error:  # noqa: BLE001 - whoever asked for it is told
        future.set_exception(error)
    else:
        future.set_result(result)


def _run(work: _Work, one_thread: OneThread, ready: threading.Barrier) -> None:
    one_thread.begin()
    ready.wait()
    while (settle := work.get()) is not None:
        settle()
        del settle  # and with it what it computed, until the next one comes


def _end(work: _Work, lanes: int) -> None:
    for _ in range(lanes):
        work.put(None)
