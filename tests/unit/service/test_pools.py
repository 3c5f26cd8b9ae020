"""The front end's threads: what is given up leaves nothing behind, and a thread that hangs keeps its place."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest

from service.errors import QueueFull
from service.metrics import Metrics
from service.pools import Pools
from service.room import Claim, Room
from tests.support.served import PATIENCE_S

CLAIM = Claim(size_bytes=1, key="", waits=False)
ASKERS = 4


def run(check: Callable[[Pools], Awaitable[None]], *, preparing_bytes: int = 100, asking_bytes: int = 1 << 20) -> None:
    async def checked() -> None:
        metrics = Metrics()
        pools = Pools(preparing=Room(preparing_bytes, metrics), asking=Room(asking_bytes, metrics))
        try:
            await asyncio.wait_for(check(pools), PATIENCE_S)
        finally:
            pools.close()

    asyncio.run(checked())


class Hanging:
    """Work that does not end before it may."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self._running = threading.Semaphore(0)

    def __call__(self) -> str:
        self._running.release()
        assert self.may_end.wait(PATIENCE_S)
        return "done"

    async def runs(self, times: int = 1) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._running.acquire, timeout=PATIENCE_S)


class Texts:
    """What a request holds while it waits."""

    def ask(self) -> str:
        return "answered"


async def cancelled(*tasks: "asyncio.Task[str]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


def test_what_waits_for_a_registry_that_hangs_is_gone_once_it_is_given_up() -> None:
    async def check(pools: Pools) -> None:
        hanging, texts = Hanging(), Texts()
        stuck = [asyncio.create_task(pools.ask(CLAIM, hanging)) for _ in range(ASKERS)]
        await hanging.runs(ASKERS)
        await cancelled(*stuck)  # at their deadlines; the threads hang on
        kept = weakref.ref(texts)
        waiting = asyncio.create_task(pools.ask(CLAIM, texts.ask))
        await asyncio.sleep(0)
        await cancelled(waiting)
        del texts, waiting
        gc.collect()
        assert kept() is None
        hanging.may_end.set()
        assert await pools.ask(CLAIM, Texts().ask) == "answered"

    run(check)


def test_no_more_wait_for_the_registry_than_there_is_room_for() -> None:
    async def check(pools: Pools) -> None:
        hanging = Hanging()
        asking = [asyncio.create_task(pools.ask(CLAIM, hanging)) for _ in range(6)]
        await hanging.runs(ASKERS)
        with pytest.raises(QueueFull):
            await pools.ask(CLAIM, hanging)
        hanging.may_end.set()
        assert await asyncio.gather(*asking) == ["done"] * 6
        assert await pools.ask(CLAIM, hanging) == "done"

    run(check, asking_bytes=6 * (16 << 10))


def test_a_body_that_is_given_up_keeps_its_room_until_its_thread_has_ended() -> None:
    async def check(pools: Pools) -> None:
        hanging = Hanging()
        running = asyncio.create_task(pools.prepare(Claim(size_bytes=50, key="one", waits=False), hanging))
        await hanging.runs()
        await cancelled(running)
        with pytest.raises(QueueFull):
            await pools.prepare(Claim(size_bytes=1, key="one", waits=False), hanging)
        hanging.may_end.set()
        assert await pools.prepare(Claim(size_bytes=1, key="one", waits=True), hanging) == "done"

    run(check)


def test_work_that_raises_gives_its_place_back() -> None:
    async def check(pools: Pools) -> None:
        def fail() -> None:
            raise ValueError

        for _ in range(5):
            with pytest.raises(ValueError, match=r"^$"):
                await pools.prepare(Claim(size_bytes=50, key="one", waits=False), fail)
            with pytest.raises(ValueError, match=r"^$"):
                await pools.ask(CLAIM, fail)

    run(check)
