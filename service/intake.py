"""Who may upload now, and the threads that uploads work in, apart from those that predictions need.

Reading from disk, hashing and the gate would hold up the event loop, and waiting for the gate the threads of others.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from .errors import Draining, UploadsFull

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

_WRITERS = 4
_JUDGES = 1  # the gate looks at one header at a time
_PUBLISHERS = 2  # and at one whole file; another one is hashed or copied meanwhile
_RETRY_AFTER_S = 5


class Intake:
    """Belongs to one event loop, in whose thread all but the given functions run."""

    def __init__(self, *, at_once: int) -> None:
        self.is_stopping = False
        self._at_once = at_once
        self.running = 0
        self._waiting: set[asyncio.Timeout] = set()
        self._writers = CapacityLimiter(_WRITERS)
        self._judges = CapacityLimiter(_JUDGES)
        self._publishers = CapacityLimiter(_PUBLISHERS)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for uploads. Raises `UploadsFull` or `Draining`."""
        if self.is_stopping:
            raise Draining("the server is shutting down; try again")
        if self.running >= self._at_once:
            raise UploadsFull(
                f"{self._at_once} uploads are running; try again in a while", retry_after_s=_RETRY_AFTER_S
            )
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

    @contextmanager
    def interruptible(self, patience: asyncio.Timeout) -> Iterator[None]:
        """`stop` lets `patience` run out."""
        self._waiting.add(patience)
        if self.is_stopping:
            patience.reschedule(0)
        try:
            yield
        finally:
            self._waiting.discard(patience)

    def stop(self) -> None:
        """No upload begins any more, and those that wait for their client end."""
        self.is_stopping = True
        for patience in self._waiting:
            if not patience.expired():
                patience.reschedule(0)

    async def write(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Short work: a piece, a row."""
        return await to_thread.run_sync(work, *arguments, limiter=self._writers)

    async def judge(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """A look at the head of a file."""
        return await to_thread.run_sync(work, *arguments, limiter=self._judges)

    async def publish(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Long work: whole files."""
        return await to_thread.run_sync(work, *arguments, limiter=self._publishers)
