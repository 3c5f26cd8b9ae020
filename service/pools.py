"""The threads of the front end: some that tokenise and decode, some that ask the registry.

They are apart from each other and from those of uploads, so that neither a slow database nor files take the threads
that a request needs whose versions are known. What no queue has accepted yet finds bounded room before them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TypeVar, TypeVarTuple

from .batching import Costs
from .metrics import Metrics
from .room import Claim, Room
from .settings import Settings

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

_BYTES_PER_TOKEN = 16
"""Of a body: 4 to 10 in most languages, and it may have more than texts."""
_LEAST_PREPARED_BYTES = 1 << 16  # tokenised in less than a tenth of a second
_ASKING_BYTES = 16 << 20
_WAITING_BYTES = 16 << 10
"""At least so much is kept of a request that waits for the registry."""
_ASKERS = 4


class Pools:
    """Belongs to one event loop. Who is cancelled waits no longer; a thread ends what it has begun, and so long its
    place is taken.
    """

    def __init__(self, *, preparing: Room, asking: Room) -> None:
        self._tokenizers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="glossa-tokenizer")
        self._askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="glossa-asker")
        self._preparing = preparing
        self._asking = asking
        self._free_askers = asyncio.Semaphore(_ASKERS)

    async def prepare(self, claim: Claim, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Work for a core before a request is accepted: texts to rows. Raises `QueueFull`."""
        leave = await self._preparing.enter(claim)
        return await _run(self._tokenizers, leave, work, *arguments)

    async def ask(self, claim: Claim, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """A request's work that waits for the database. Raises `QueueFull`."""
        leave = await self._asking.enter(replace(claim, size_bytes=max(claim.size_bytes, _WAITING_BYTES)))
        try:
            await self._free_askers.acquire()  # here, for what waits in a pool stays there when it is given up
            return await _run(self._askers, self._free_askers.release, work, *arguments)
        finally:
            leave()

    async def decode(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Work for a core once a request is answered: answers to a reply."""
        return await _run(self._tokenizers, None, work, *arguments)

    def close(self) -> None:
        for pool in (self._tokenizers, self._askers):
            pool.shutdown(wait=False, cancel_futures=True)


async def _run(
    pool: ThreadPoolExecutor,
    ended: Callable[[], None] | None,
    work: Callable[[*_Arguments], _Result],
    *arguments: *_Arguments,
) -> _Result:
    """In the request's own context: what is logged has its id. `ended` is called in the loop, whoever waits still."""
    try:
        running = pool.submit(partial(copy_context().run, work, *arguments))
    except BaseException:
        if ended is not None:
            ended()
        raise
    if ended is not None:
        running.add_done_callback(partial(_tell, asyncio.get_running_loop(), ended))
    return await asyncio.wrap_future(running)


def _tell(loop: asyncio.AbstractEventLoop, ended: Callable[[], None], _: Future[_Result]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(ended)


@asynccontextmanager
async def pooled(settings: Settings, costs: Costs, metrics: Metrics) -> AsyncIterator[Pools]:
    """Threads for as long as a server runs, on whose device a token costs as calibrated.

    As much is prepared at once as the queue holds: more would be tokenised only to be refused.
    """
    queue_tokens = min(settings.queue_tokens, settings.queue_s / costs.seconds_per_token)
    prepared_bytes = max(_LEAST_PREPARED_BYTES, int(queue_tokens * _BYTES_PER_TOKEN))
    pools = Pools(preparing=Room(prepared_bytes, metrics), asking=Room(_ASKING_BYTES, metrics))
    try:
        yield pools
    finally:
        pools.close()
