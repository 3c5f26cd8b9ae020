"""Room for what is being prepared: bounded, shared between keys, given back once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.errors import QueueFull
from service.metrics import Metrics
from service.room import Claim, Room
from tests.support.served import PATIENCE_S


def run(check: Callable[[Room, Metrics], Awaitable[None]]) -> None:
    """With room for 100 bytes."""

    async def checked() -> None:
        metrics = Metrics()
        await check(Room(100, metrics), metrics)

    asyncio.run(checked())


def claim(size_bytes: int, key: str = "", *, waits: bool = False) -> Claim:
    return Claim(size_bytes=size_bytes, key=key, waits=waits)


def test_beyond_its_bytes_it_refuses_until_a_place_is_given_back() -> None:
    async def check(room: Room, metrics: Metrics) -> None:
        leave = await room.enter(claim(40))
        await room.enter(claim(40))
        with pytest.raises(QueueFull):
            await room.enter(claim(40))
        assert metrics.value("glossa_rejections_total", reason="queue_full") == 1
        leave()
        await room.enter(claim(40))

    run(check)


def test_the_largest_leave_half_of_it_to_others() -> None:
    async def check(room: Room, _: Metrics) -> None:
        await room.enter(claim(1_000_000, "large"))
        with pytest.raises(QueueFull):
            await room.enter(claim(1, "large"))
        await room.enter(claim(50, "other"))

    run(check)


def test_who_waits_enters_when_there_is_room_and_is_never_counted_as_refused() -> None:
    async def check(room: Room, metrics: Metrics) -> None:
        leave = [await room.enter(claim(50)), await room.enter(claim(50))]
        waiting = [asyncio.create_task(room.enter(claim(50, waits=True))) for _ in range(2)]
        await asyncio.sleep(0)
        leave[0]()
        await asyncio.wait(waiting, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert [task.done() for task in waiting] == [True, False]
        leave[1]()
        await asyncio.wait_for(waiting[1], PATIENCE_S)
        assert not metrics.value("glossa_rejections_total", reason="queue_full")

    run(check)


def test_who_gives_up_waiting_takes_no_place() -> None:
    async def check(room: Room, _: Metrics) -> None:
        leave = [await room.enter(claim(50)), await room.enter(claim(50))]
        waiting = asyncio.create_task(room.enter(claim(50, waits=True)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        for give_back in leave:
            give_back()
        await room.enter(claim(50))
        await room.enter(claim(50))

    run(check)
