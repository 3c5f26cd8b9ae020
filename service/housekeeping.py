"""What a running server tidies up by itself, now and then: uploads and kept answers whose time is over."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.concurrency import run_in_threadpool

from madx.errors import GlossaError
from registry.registry import Registry
from registry.replies import expire_replies
from registry.uploads import expire_uploads

from .logs import where

INTERVAL_S = 600.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def kept_tidy(registry: Registry) -> AsyncIterator[None]:
    """While the block runs, from its beginning on and then every `INTERVAL_S`."""
    tidying = asyncio.create_task(_tidy_for_ever(registry))
    try:
        yield
    finally:
        tidying.cancel()
        with suppress(asyncio.CancelledError):
            await tidying


async def _tidy_for_ever(registry: Registry) -> None:
    while True:
        try:
            await run_in_threadpool(tidy, registry)
        except GlossaError as error:  # the next round may find the database back
            _log.warning("could not tidy up: %s", where(error))
        await asyncio.sleep(INTERVAL_S)


def tidy(registry: Registry) -> None:
    now = registry.database.now()
    expire_uploads(registry, now)
    expire_replies(registry, now)
