"""The server's own engine without HTTP: app, registry, residency and device thread as `create_app` puts them together.

Rows go in through `Engine.submit`, one a request, with a queue that never runs empty.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from glossa.garbage import seldom_collected
from madx.manifest import Digest
from service.app import create_app
from service.engine import Engine
from service.readout import AllLogits, Logits
from service.settings import Settings
from service.state import Server
from service.work import AskedRow, Done

from .traffic import Ask
from .world import World

PATIENCE_S = 600.0
Ranks = Callable[[Ask], tuple[int, int]]
"""A row -> the ranks of its language and its task."""


@asynccontextmanager
async def running_server(world: World, **given: Any) -> AsyncIterator[Server]:
    """`given` are settings besides the home, the backbone and the store."""
    own = {"home": world.home, "backbone": str(world.backbone), "blob_url": world.blob_url}
    async with engine_of(own | given) as server:
        yield server


@asynccontextmanager
async def engine_of(settings: Mapping[str, Any]) -> AsyncIterator[Server]:
    """A server that nobody reaches but through its engine, which takes as much as it is given. Stops it on leaving."""
    fields: dict[str, Any] = {"keys": "off", "deadline_s": PATIENCE_S, "queue_s": PATIENCE_S} | dict(settings)
    app = create_app(Settings(**fields))
    async with app.router.lifespan_context(app), seldom_collected():
        server = app.state.server
        assert isinstance(server, Server)
        yield server


def asked_row(ask: Ask, world: World, ranks: tuple[int, int]) -> AskedRow:
    """Read at every place but the two special ones, as a row of NER is at nearly as many."""
    language, task = ranks
    return AskedRow(
        input_ids=ask.ids,
        positions=tuple(range(1, len(ask.ids) - 1)),
        language=world.languages[language],
        task=world.tasks[task],
        leave_out=(),
        readout=AllLogits(),
    )


class Deep:
    """Submits rows one by one, the next as soon as it fits beside those under way.

    They have fewer than `queued_tokens`, and their adapters `queued_bytes` in the store: rows that wait keep theirs on
    the device, so that where it has little room a deep queue would want more at once than there is.
    """

    def __init__(self, engine: Engine, *, queued_tokens: float, queued_bytes: float = math.inf) -> None:
        self._engine = engine
        self._most_tokens, self._most_bytes = queued_tokens, queued_bytes
        self._tokens = 0
        self._wanted: Counter[Digest] = Counter()
        self._sizes: dict[Digest, int] = {}
        self._freed = asyncio.Event()

    async def run(self, rows: Sequence[AskedRow]) -> tuple[float, list[Done]]:
        """Seconds from the first submission to the last answer, and the answers. Raises what a row raises."""
        began_s = time.perf_counter()
        futures = []
        for row in rows:
            while self._tokens and not self._fits(row):
                self._freed.clear()
                await self._freed.wait()
            futures.append(self._submit(row))
        done = await asyncio.gather(*futures)
        return time.perf_counter() - began_s, done

    def _fits(self, row: AskedRow) -> bool:
        own = {version.manifest_digest: version.size_bytes for version in row.versions}
        size_bytes = sum((own | {digest: self._sizes[digest] for digest in self._wanted}).values())
        return self._tokens + len(row.input_ids) <= self._most_tokens and size_bytes <= self._most_bytes

    def _submit(self, row: AskedRow) -> "asyncio.Future[Done]":
        future = self._engine.submit((row,), key="", deadline_s=time.monotonic() + PATIENCE_S)
        self._count(row, 1)

        def answered(_: object) -> None:
            self._count(row, -1)
            self._freed.set()

        future.add_done_callback(answered)
        return future

    def _count(self, row: AskedRow, sign: int) -> None:
        self._tokens += sign * len(row.input_ids)
        for version in row.versions:
            self._sizes[version.manifest_digest] = version.size_bytes
            self._wanted[version.manifest_digest] += sign
        self._wanted = +self._wanted  # without those that nobody wants any more


def logits_of(done: Sequence[Done]) -> list[Logits]:
    """Of requests of one row each."""
    found: list[Logits] = []
    for each in done:
        (answer,) = each.answers
        assert isinstance(answer, np.ndarray)
        found.append(answer)
    return found
