"""Batches that run side by side, each in a lane: what they share, and what one that fails or hangs does to others."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest

from service.errors import Draining, InternalError, NotReady
from service.readout import Logits
from service.work import Done
from tests.support.served import Home, Rig, patiently, running_engine

TEXT = "Juma lives in Nairobi"
LANES = 2


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with running_engine(home, lanes=LANES, **options) as rig:
            await test(rig)

    asyncio.run(main())


def same(left: Done, right: Done) -> bool:
    pairs = zip(left.answers, right.answers, strict=True)
    return all(np.allclose(cast(Logits, a), cast(Logits, b), rtol=0, atol=1e-4) for a, b in pairs)


class Held:
    """One request of two rows, each held in a lane of its own."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.gates = [threading.Event() for _ in range(LANES)]
        rig.forward.gates += self.gates

    async def begin(self, language: str | None = None) -> "asyncio.Future[Done]":
        future = self._rig.submit(*[self._rig.ner(TEXT, language)] * LANES)
        for _ in range(LANES):
            await self._rig.forward.running()
        return future


def test_a_row_alone_has_the_whole_device_and_several_go_through_lanes(home: Home) -> None:
    async def check(rig: Rig) -> None:
        alone = await rig.answer(rig.ner(TEXT))
        several = await rig.answer(*[rig.ner(TEXT)] * 6)
        assert all(np.allclose(cast(Logits, answer), cast(Logits, alone.answers[0])) for answer in several.answers)
        assert rig.forward.batches == [1, 3, 3]
        assert rig.forward.threads[0] == "glossa-device"
        assert set(rig.forward.threads[1:]) <= {"glossa-lane-0", "glossa-lane-1"}  # one may be through with both

    run(home, check)


def test_the_next_batch_begins_when_one_lane_is_free_and_takes_its_part_of_what_waits(home: Home) -> None:
    async def check(rig: Rig) -> None:
        held = Held(rig)
        first = await held.begin()
        assert set(rig.forward.threads) == {"glossa-lane-0", "glossa-lane-1"}
        waiting = [rig.submit(rig.ner(TEXT)) for _ in range(8)]
        held.gates[0].set()
        for future in waiting:
            await patiently(future)
        assert not first.done()
        assert rig.forward.batches[LANES] == 4
        assert sum(rig.forward.batches) == LANES + 8
        held.gates[1].set()
        assert len((await patiently(first)).answers) == LANES

    run(home, check)


def test_many_stacks_side_by_side_give_each_row_its_own_answer(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rows = [rig.ner(" ".join([TEXT] * times), language) for times in (1, 2, 3) for language in ("en", "sw", None)]
        alone = [await rig.answer(row) for row in rows]
        for _ in range(10):
            futures = [rig.submit(row) for row in rows * 3]
            for number, future in enumerate(futures):
                assert same(await patiently(future), alone[number % len(rows)])
        assert set(Counter(rig.forward.threads)) >= {"glossa-lane-0", "glossa-lane-1"}
        assert rig.metrics.value("glossa_queue_tokens") == 0

    run(home, check, batch_tokens=64)


def test_adapters_of_a_batch_that_runs_stay_while_others_come_and_go(home: Home) -> None:
    """The device has no room for two languages; each load waits for the turn that takes the other out."""

    async def check(rig: Rig) -> None:
        expected = await rig.answer(*[rig.ner(TEXT, "sw")] * LANES)
        for _ in range(LANES):
            await rig.forward.running()
        held = Held(rig)
        future = await held.begin("sw")
        held.gates[0].set()
        others = [rig.submit(rig.fill(TEXT, "en")) for _ in range(3)]
        await patiently(rig.submit(rig.fill(TEXT)))
        assert "sw@1" in [place.reference for place in rig.engine.residency.device.places() if place.in_use]
        held.gates[1].set()
        assert same(await patiently(future), expected)
        for other in others:
            await patiently(other)

    run(home, check, adapter_bytes=14_000)


def test_a_batch_that_fails_in_a_lane_takes_no_neighbour_with_it(home: Home) -> None:
    async def check(rig: Rig) -> None:
        alone = await rig.answer(rig.ner(TEXT))
        poison = rig.ner("kesho kesho kesho")
        rig.forward.poison = poison.input_ids
        futures = [rig.submit(row) for row in [rig.ner(TEXT)] * 5 + [poison] + [rig.ner(TEXT)] * 5]
        for number, future in enumerate(futures):
            if number == 5:
                with pytest.raises(InternalError):
                    await patiently(future)
            else:
                assert same(await patiently(future), alone)
        assert rig.engine.is_ready
        assert rig.metrics.value("glossa_queue_requests") == 0

    run(home, check)


def test_rows_that_run_once_more_are_not_computed_for_nobody(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures += [RuntimeError("first"), RuntimeError("second")]
        held = Held(rig)
        rows = [rig.ner(TEXT)] * LANES
        future = rig.submit(*rows)
        for _ in range(LANES):
            await rig.forward.running()
        held.gates[0].set()
        with pytest.raises(InternalError):
            await patiently(future)
        held.gates[1].set()
        await rig.answer(rig.ner(TEXT))
        assert rig.forward.batches == [1, 1, 1]

    run(home, check)


def test_a_stop_waits_for_all_that_run_and_answers_what_waits(home: Home) -> None:
    async def check(rig: Rig) -> None:
        held = Held(rig)
        running = await held.begin()
        queued = rig.submit(rig.ner(TEXT))
        stopping = asyncio.create_task(rig.engine.stop())
        await asyncio.sleep(0)  # the device thread is told before a lane is free
        held.gates[0].set()
        await asyncio.sleep(0.05)
        assert not running.done()
        held.gates[1].set()
        assert len((await patiently(running)).answers) == LANES
        with pytest.raises(Draining):
            await patiently(queued)
        await stopping
        assert not rig.engine.is_alive

    run(home, check)


def test_a_lane_that_is_stuck_turns_the_engine_red_while_the_others_go_on(home: Home) -> None:
    async def check(rig: Rig) -> None:
        held = Held(rig)
        stuck = await held.begin()
        held.gates[0].set()
        while rig.engine.is_alive:
            await rig.answer(rig.ner(TEXT))
            await asyncio.sleep(0.01)
        held.gates[1].set()
        await patiently(stuck)
        await rig.answer(rig.ner(TEXT))
        assert rig.engine.is_alive

    run(home, check, stuck_after_s=1.0)


def test_what_ends_a_lane_ends_the_engine(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures.append(SystemExit())
        held = Held(rig)
        both = await held.begin()
        held.gates[0].set()
        with pytest.raises(NotReady):
            await patiently(both)
        held.gates[1].set()
        with pytest.raises(NotReady):
            rig.submit(rig.ner(TEXT))
        assert not rig.engine.is_alive

    run(home, check)
