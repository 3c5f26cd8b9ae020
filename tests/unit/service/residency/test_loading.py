"""Adapters on their way to the device, in a running engine: once each, beside the hot path, and again when evicted."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.errors import AdapterLoadFailed
from service.readout import Ranked
from service.work import AskedRow
from tests.support.served import PATIENCE_S, Home, Rig, patiently, running_engine

TEXT = "Juma lives in Nairobi"


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with running_engine(home, **limits) as rig:
            await test(rig)

    asyncio.run(main())


async def ranked(rig: Rig, row: AskedRow) -> Ranked:
    (answer,) = (await rig.answer(row)).answers
    assert isinstance(answer, Ranked)
    return answer


def test_an_adapter_that_was_evicted_comes_back_and_answers_as_before(home: Home) -> None:
    async def check(rig: Rig) -> None:
        first = await ranked(rig, rig.fill(TEXT, "en"))
        await ranked(rig, rig.fill(TEXT, "sw"))
        assert rig.metrics.value("glossa_evictions_total", tier="device") == 1
        again = await ranked(rig, rig.fill(TEXT, "en"))
        assert first == again
        assert rig.loads.references == ["en@1", "sw@1", "en@1"]

    run(home, check, adapter_bytes=12_000)


def test_a_load_that_nobody_waits_for_any_more_is_there_for_the_next(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        leaving = rig.submit(rig.fill(TEXT, "sw"))
        await asyncio.sleep(0)
        leaving.cancel()
        rig.loads.gate.set()
        await ranked(rig, rig.fill(TEXT, "sw"))
        assert rig.loads.references == ["sw@1"]

    run(home, check)


def test_requests_that_were_answered_hold_nothing(home: Home) -> None:
    """Leases end without the garbage collector, which comes late in a server."""

    async def check(rig: Rig) -> None:
        await asyncio.gather(*(rig.answer(rig.ner(TEXT, language)) for language in ("en", "sw", None)))
        leaving = rig.submit(rig.ner(TEXT, "en"))
        leaving.cancel()
        del leaving
        await rig.answer(rig.ner(TEXT))
        until_s = time.monotonic() + PATIENCE_S
        while any(placed.in_use for placed in rig.engine.residency.device.places()):
            assert time.monotonic() < until_s
            await asyncio.sleep(0.01)

    gc.disable()
    try:
        run(home, check)
    finally:
        gc.enable()


def test_one_request_that_needs_more_than_fits_is_still_answered(home: Home) -> None:
    """All its adapters are in use until its last row is done; batches take turns."""

    async def check(rig: Rig) -> None:
        bulk = rig.submit(*(rig.fill(TEXT, language) for language in ("en", "sw", "en", "sw")))
        assert len((await patiently(bulk)).answers) == 4
        assert (rig.metrics.value("glossa_adapter_overcommits_total") or 0) >= 1

    run(home, check, adapter_bytes=12_000)


def test_one_request_that_needs_far_more_than_fits_is_refused_before_anything_is_loaded(home: Home) -> None:
    async def check(rig: Rig) -> None:
        with pytest.raises(AdapterLoadFailed, match="names 2 adapters"):
            rig.submit(rig.fill(TEXT, "en"), rig.fill(TEXT, "sw"))
        assert rig.loads.references == []
        assert rig.metrics.value("glossa_queue_requests") == 0
        await ranked(rig, rig.fill(TEXT, "sw"))

    run(home, check, adapter_bytes=10_700)


def test_a_store_that_hangs_is_given_up_and_not_asked_again_at_once(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        for _ in range(3):
            with pytest.raises(AdapterLoadFailed, match="does not answer") as refusal:
                await rig.answer(rig.fill(TEXT, "sw"))
            assert refusal.value.retry_after_s is not None
        assert rig.loads.references == ["sw@1"]
        assert rig.metrics.value("glossa_adapter_lookups_total", found="failed") == 2

    run(home, check, load_timeout_s=0.3)
