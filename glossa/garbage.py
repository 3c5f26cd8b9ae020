"""What a server lets go of: Python's collector, kept from stopping everything, and pages that only the allocator holds.

The collector goes through all objects that live long, again and again, which takes 0.1 s every few seconds: those of
the libraries, and those of the requests that wait. The former never go; of the latter hardly any are left in a cycle.
What batches allocate lies between what lives on, so that freed memory does not go back to the system by itself.
"""

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

COLLECTED_EVERY_S = 60.0
_NEVER = 1 << 30


@asynccontextmanager
async def seldom_collected() -> AsyncIterator[None]:
    """What is there at the beginning is left alone until the end, and what has come since and stays is looked at once
    a minute, when free memory goes back too. What comes and goes is collected as ever.
    """
    young, middle, old = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(young, middle, _NEVER)
    collecting = asyncio.create_task(_collect())
    try:
        yield
    finally:
        collecting.cancel()
        with suppress(asyncio.CancelledError):
            await collecting
        gc.set_threshold(young, middle, old)
        gc.unfreeze()


async def _collect() -> None:
    while True:
        await asyncio.sleep(COLLECTED_EVERY_S)
        gc.collect()
        await asyncio.to_thread(give_back)


def give_back() -> None:
    """All pages that nothing lies on, to the system: glibc alone keeps them. Other threads may allocate meanwhile."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
