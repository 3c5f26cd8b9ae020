"""The threads of the front end: some that tokenise and decode, some that ask the registry.

They are apart from each other and from those of uploads, so that neither a slow database nor files take the threads
that a request needs whose versions are known.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TypeVar, TypeVarTuple

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

_ASKERS = 4


class Pools:
    """Belongs to one event loop. Who is cancelled waits no longer; a thread ends what it has begun."""

    def __init__(self) -> None:
        self._tokenizers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="glossa-tokenizer")
        self._askers = ThreadPoolExecutor(_ASKERS, thread_name_prefix="glossa-asker")

    async def tokenize(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Work for a core: texts to rows, answers to replies."""
        return await _run(self._tokenizers, work, *arguments)

    async def ask(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """A request's work that waits for the database."""
        return await _run(self._askers, work, *arguments)

    def close(self) -> None:
        for pool in (self._tokenizers, self._askers):
            pool.shutdown(wait=False, cancel_futures=True)


async def _run(pool: ThreadPoolExecutor, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
    """In the request's own context: what is logged has its id."""
    in_context = partial(copy_context().run, work, *arguments)
    return await asyncio.get_running_loop().run_in_executor(pool, in_context)


@asynccontextmanager
async def pooled() -> AsyncIterator[Pools]:
    """Threads for as long as a server runs."""
    pools = Pools()
    try:
        yield pools
    finally:
        pools.close()
