"""Every accepted request is answered exactly once, whatever happens to it or beside it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from starlette.requests import ClientDisconnect

from madx.errors import GlossaError
from registry.values import Version
from service import forwards
from service.device_thread import EngineLimits
from service.engine import Engine
from service.errors import (
    AdapterLoadFailed,
    BodyTooLarge,
    DeadlineExceeded,
    Draining,
    InternalError,
    NotReady,
    QueueFull,
)
from service.metrics import Metrics
from service.model import Model, open_model
from service.readout import Logits, Ranked
from service.residency.fetching import Came
from service.residency.reading import Weights
from service.residency.tiers import Limits as Memory
from service.residency.tiers import Residency
from service.routes.predict import unless_left
from service.work import Done
from tests.support.served import PATIENCE_S, Home, Rig, patiently, running_engine

TEXT = "Juma lives in Nairobi"


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with running_engine(home, **limits) as rig:
            await test(rig)

    asyncio.run(main())


def same(left: Done, right: Done) -> bool:
    """Tagging answers only: logits, row by row."""
    pairs = zip(left.answers, right.answers, strict=True)
    return all(np.allclose(cast(Logits, a), cast(Logits, b), rtol=0, atol=1e-4) for a, b in pairs)


async def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)


async def error_of(future: "asyncio.Future[Done]") -> GlossaError:
    with pytest.raises(GlossaError) as caught:
        await patiently(future)
    return caught.value


def test_a_mixed_batch_is_one_forward_and_gives_each_row_its_own_answer(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rows = [rig.ner(TEXT, "sw"), rig.ner(TEXT, "en"), rig.ner(TEXT), rig.fill(TEXT, "en"), rig.fill(TEXT)]
        rig.forward.gate.set()
        alone = []
        for row in rows:
            alone.append(await rig.answer(row))
            await rig.forward.running()
        rig.forward.gate.clear()
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        together = [rig.submit(row) for row in rows]
        rig.forward.gate.set()
        mixed = [await patiently(future) for future in [blocker, *together]][1:]
        assert rig.forward.batches == [1] * len(rows) + [1, 5]
        assert all(same(a, b) for a, b in zip(mixed[:3], alone[:3], strict=True))
        assert not same(mixed[0], mixed[1])
        assert not same(mixed[1], mixed[2])
        ranked = [done.answers[0] for done in (*mixed[3:], *alone[3:])]
        assert all(isinstance(answer, Ranked) for answer in ranked)
        assert [answer.classes for answer in ranked[:2]] == [answer.classes for answer in ranked[2:]]  # type: ignore[union-attr]
        assert ranked[0].classes != ranked[1].classes  # type: ignore[union-attr]

    run(home, check, gated=True)


def test_a_request_cancelled_in_the_queue_never_runs_and_its_neighbours_do(home: Home) -> None:
    async def check(rig: Rig) -> None:
        first = rig.submit(rig.ner(TEXT))
        await rig.forward.running()
        leaving, staying = rig.submit(rig.ner(TEXT)), rig.submit(rig.ner(TEXT))
        leaving.cancel()
        await asyncio.sleep(0)
        rig.forward.gate.set()
        assert same(await patiently(first), await patiently(staying))
        assert rig.forward.batches == [1, 1]
        assert leaving.cancelled()

    run(home, check, gated=True)


def test_a_request_cancelled_in_a_running_batch_takes_no_neighbour_with_it(home: Home) -> None:
    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        leaving, staying = rig.submit(rig.ner(TEXT)), rig.submit(rig.ner(TEXT))
        await rig.forward.hold_next()
        assert rig.forward.batches == [1, 2]
        await patiently(blocker)
        leaving.cancel()
        await asyncio.sleep(0)
        assert not staying.done()
        rig.forward.gate.set()
        assert same(await patiently(staying), await rig.answer(rig.ner(TEXT)))
        assert leaving.cancelled()
        assert rig.forward.batches == [1, 2, 1]
        assert rig.metrics.value("glossa_queue_tokens") == 0

    run(home, check, gated=True)


def test_a_client_that_leaves_takes_its_rows_out_of_the_queue(home: Home) -> None:
    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        left, submitted = asyncio.Event(), asyncio.Event()

        async def answered() -> Done:
            future = rig.submit(rig.ner(TEXT))
            submitted.set()
            return await future

        answer = asyncio.create_task(unless_left(answered(), left.wait()))
        await asyncio.wait_for(submitted.wait(), PATIENCE_S)
        left.set()
        with pytest.raises(ClientDisconnect):
            await asyncio.wait_for(answer, PATIENCE_S)
        rig.forward.gate.set()
        await patiently(blocker)
        await rig.answer(rig.ner("leo"))
        assert rig.forward.batches == [1, 1]
        assert rig.metrics.value("glossa_queue_tokens") == 0

    run(home, check, gated=True)


def test_a_forward_that_raises_once_fails_its_batch_alone(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures.append(RuntimeError("what the user wrote"))
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        neighbour = rig.submit(rig.ner(TEXT))
        rig.forward.gate.set()
        assert isinstance(await error_of(blocker), InternalError)
        assert same(await patiently(neighbour), await rig.answer(rig.ner(TEXT)))
        assert rig.engine.is_ready

    run(home, check, gated=True)
    assert "RuntimeError at served.py" in caplog.text
    assert "what the user wrote" not in caplog.text


def test_a_row_that_fails_its_batch_takes_no_neighbour_with_it(home: Home) -> None:
    async def check(rig: Rig) -> None:
        poison = rig.ner("kesho kesho kesho")
        rig.forward.poison = poison.input_ids
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        before, culprit = rig.submit(rig.ner(TEXT)), rig.submit(rig.ner("leo"), poison)
        after = [rig.submit(rig.ner(TEXT)) for _ in range(5)]
        rig.forward.gate.set()
        await patiently(blocker)
        assert isinstance(await error_of(culprit), InternalError)
        neighbours = [await patiently(future) for future in (before, *after)]
        alone = await rig.answer(rig.ner(TEXT))
        assert all(same(neighbour, alone) for neighbour in neighbours)
        assert rig.engine.is_ready
        assert rig.metrics.value("glossa_queue_requests") == 0

    run(home, check, gated=True)


def test_an_adapter_too_large_beside_its_language_fails_its_own_request_only(home: Home) -> None:
    sizes: list[int] = []

    async def weigh(rig: Rig) -> None:
        await rig.answer(rig.ner(TEXT, "en"))
        sizes.extend(rig.engine.residency.device.sizes.values())

    run(home, weigh)
    assert len(sizes) == 2

    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        futures = rig.submit(rig.ner(TEXT, "en")), rig.submit(rig.ner(TEXT))
        rig.forward.gate.set()
        await patiently(blocker)
        assert isinstance(await error_of(futures[0]), AdapterLoadFailed)
        assert len((await patiently(futures[1])).answers) == 1

    run(home, check, gated=True, adapter_bytes=sum(sizes) - 1)


def test_a_device_that_runs_out_of_memory_gets_smaller_batches(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        rig.forward.failures += [None, torch.OutOfMemoryError("what the user wrote")]
        bulk = rig.submit(*[rig.ner(TEXT)] * 30)
        rig.forward.gate.set()
        await patiently(blocker)
        assert len((await patiently(bulk)).answers) == 30
        whole, *parts = rig.forward.batches[1:]
        assert parts[:2] == [whole // 2, whole - whole // 2]
        await rig.answer(*[rig.ner(TEXT)] * 30)
        assert max(rig.forward.batches[4:]) <= (whole + 1) // 2

    run(home, check, gated=True)
    assert "the device ran out of memory" in caplog.text
    assert "what the user wrote" not in caplog.text


def test_all_requests_of_a_failed_batch_are_told_once_and_their_other_rows_never_run(home: Home) -> None:
    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        rig.forward.failures += [RuntimeError("first"), RuntimeError("second")]
        bulk = rig.submit(*(rig.ner(" ".join([TEXT] * 8)) for _ in range(20)))
        rig.forward.gate.set()
        assert isinstance(await error_of(blocker), InternalError)
        assert isinstance(await error_of(bulk), InternalError)
        await rig.answer(rig.ner(TEXT))
        assert len(rig.forward.batches) == 3

    run(home, check, gated=True)


def test_a_request_of_many_batches_is_answered_in_the_order_of_its_rows(home: Home) -> None:
    async def check(rig: Rig) -> None:
        texts = [" ".join(["leo"] * count) for count in range(1, 40)]
        done = await rig.answer(*(rig.ner(text) for text in texts))
        assert len(rig.forward.batches) > 3
        assert [len(answer) for answer in done.answers] == list(range(1, 40))  # type: ignore[arg-type]
        assert done.tokens == sum(count + 2 for count in range(1, 40))

    run(home, check)


def test_shutdown_ends_the_running_batch_and_answers_what_waits(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        running = rig.submit(rig.ner(TEXT))
        await rig.forward.running()
        queued = rig.submit(rig.ner(TEXT))
        loading = rig.submit(rig.ner(TEXT, "sw"))
        stopping = asyncio.create_task(rig.engine.stop())
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            rig.submit(rig.ner(TEXT))
        rig.forward.gate.set()
        assert len((await patiently(running)).answers) == 1
        assert isinstance(await error_of(queued), Draining)
        assert isinstance(await error_of(loading), Draining)
        await stopping
        assert not rig.engine.is_alive
        assert rig.metrics.value("glossa_queue_tokens") == 0

    run(home, check, gated=True)


def test_a_drain_answers_what_was_accepted_and_refuses_the_rest(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        accepted = [rig.submit(rig.ner(TEXT)) for _ in range(30)] + [rig.submit(rig.ner(TEXT, "sw"))]
        await rig.forward.running()
        draining = asyncio.create_task(rig.engine.drain(PATIENCE_S))
        await asyncio.sleep(0)
        assert rig.engine.is_draining
        assert not rig.engine.is_ready
        assert rig.engine.is_alive
        with pytest.raises(Draining):
            rig.submit(rig.ner(TEXT))
        with pytest.raises(Draining):
            rig.engine.has_room("")
        rig.forward.gate.set()
        rig.loads.gate.set()
        await asyncio.wait_for(draining, PATIENCE_S)
        assert all(len(future.result().answers) == 1 for future in accepted)

    run(home, check, gated=True)


def test_a_drain_that_takes_too_long_tells_those_who_wait(home: Home) -> None:
    async def check(rig: Rig) -> None:
        running = rig.submit(rig.ner(TEXT))
        await rig.forward.running()
        queued = rig.submit(rig.ner(TEXT))
        await rig.engine.drain(0.05)
        assert isinstance(await error_of(running), Draining)
        assert isinstance(await error_of(queued), Draining)
        assert rig.metrics.value("glossa_queue_tokens") == 0
        rig.forward.gate.set()

    run(home, check, gated=True)


def test_an_engine_with_nothing_to_do_is_drained_at_once(home: Home) -> None:
    async def check(rig: Rig) -> None:
        await asyncio.wait_for(rig.engine.drain(PATIENCE_S), PATIENCE_S / 4)
        assert rig.engine.is_draining

    run(home, check)


def test_a_request_is_told_when_its_deadline_has_passed_and_never_computed(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        queued, loading = (rig.submit(rig.ner(TEXT, language), within_s=0.05) for language in (None, "sw"))
        assert isinstance(await error_of(queued), DeadlineExceeded)
        assert isinstance(await error_of(loading), DeadlineExceeded)
        assert isinstance(await error_of(rig.submit(rig.ner(TEXT), within_s=-1.0)), DeadlineExceeded)
        assert not blocker.done()
        rig.forward.gate.set()
        await patiently(blocker)
        await rig.answer(rig.ner("leo"))
        assert rig.forward.batches == [1, 1]
        assert rig.metrics.value("glossa_expired_requests_total") == 3
        assert rig.metrics.value("glossa_queue_tokens") == 0

    run(home, check, gated=True)


def test_a_deadline_in_a_running_batch_takes_no_neighbour_with_it(home: Home) -> None:
    async def check(rig: Rig) -> None:
        for within_s in (0.1, 1.0, 10.0, 60.0):  # the first that the device thread comes to in time
            rig.forward.gate.clear()
            blocker = rig.submit(rig.ner("leo"))
            await rig.forward.running()
            short, long = rig.submit(rig.ner(TEXT), within_s=within_s), rig.submit(rig.ner(TEXT))
            await rig.forward.hold_next()
            is_in_time = rig.forward.batches[-1] == 2
            assert isinstance(await error_of(short), DeadlineExceeded)
            assert not long.done()
            rig.forward.gate.set()
            await patiently(blocker)
            assert same(await patiently(long), await rig.answer(rig.ner(TEXT)))
            await rig.forward.running()  # that answer's batch
            if is_in_time:
                return
        pytest.fail("the device thread took minutes")

    run(home, check, gated=True)


def test_a_deadline_that_passes_is_counted_once_whoever_notices(home: Home) -> None:
    async def check(rig: Rig) -> None:
        late, left = rig.submit(rig.ner(TEXT), within_s=-1.0), rig.submit(rig.ner(TEXT))
        late.cancel()  # as a caller's own timer does
        left.cancel()
        assert isinstance(await error_of(rig.submit(rig.ner(TEXT), within_s=-1.0)), DeadlineExceeded)
        await rig.answer(rig.ner(TEXT))
        assert rig.metrics.value("glossa_expired_requests_total") == 2

    run(home, check)


def test_a_key_that_floods_the_queue_delays_another_by_one_batch_only(home: Home) -> None:
    async def check(rig: Rig) -> None:
        blocker = rig.submit(rig.ner("leo"), key="flood")
        await rig.forward.running()
        flood = [rig.submit(*[rig.ner(TEXT)] * 16, key="flood") for _ in range(20)]
        await rig.forward.hold_next()
        victim = rig.submit(rig.ner(TEXT), key="victim")
        await rig.forward.hold_next()
        assert not victim.done()
        await rig.forward.hold_next()
        assert victim.done()
        assert not all(future.done() for future in flood)
        rig.forward.gate.set()
        for future in (blocker, *flood):
            await patiently(future)

    run(home, check, gated=True)


def test_a_burst_of_a_key_below_its_share_goes_before_one_that_floods_the_queue(home: Home) -> None:
    async def check(rig: Rig) -> None:
        row = rig.ner(TEXT)
        whole = 256 // len(row.input_ids)  # rows of a batch
        flood = [rig.submit(*[row] * whole, key="flood") for _ in range(8)]
        await rig.forward.running()
        early = rig.submit(row, key="burst")
        for _ in range(3):
            await rig.forward.hold_next()
        assert early.done()
        burst = rig.submit(*[row] * (whole - 2), key="burst")
        await rig.forward.hold_next()
        await rig.forward.hold_next()
        assert burst.done()
        assert not flood[-1].done()
        rig.forward.gate.set()
        for future in (burst, *flood):
            await patiently(future)

    run(home, check, gated=True, queue_tokens=16_384)


def test_a_full_queue_refuses_at_once_and_takes_requests_again_later(home: Home) -> None:
    async def check(rig: Rig) -> None:
        first = rig.submit(rig.ner(TEXT))
        with pytest.raises(QueueFull) as refusal:
            rig.submit(rig.ner(TEXT))
        assert refusal.value.retry_after_s >= 1
        assert rig.metrics.value("glossa_rejections_total", reason="queue_full") == 1
        rig.forward.gate.set()
        await patiently(first)
        assert len((await rig.answer(rig.ner(TEXT))).answers) == 1

    run(home, check, gated=True, queue_tokens=8)


def test_who_waits_for_room_is_told_when_a_request_is_over_and_refuses_nothing(home: Home) -> None:
    async def check(rig: Rig) -> None:
        row = rig.ner(TEXT)
        first = rig.submit(row)
        assert not rig.engine.fits([row], key="")
        freed = asyncio.create_task(rig.engine.freed())
        await asyncio.sleep(0)
        assert not freed.done()
        rig.forward.gate.set()
        await asyncio.wait_for(freed, PATIENCE_S)
        assert first.done()
        assert rig.engine.fits([row], key="")
        assert rig.metrics.value("glossa_rejections_total", reason="queue_full") is None

    run(home, check, gated=True, queue_tokens=8)


def test_a_request_that_cannot_begin_leaves_nothing_in_the_queue(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(rig: Rig) -> None:
        def no_thread(_: Version) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(rig.engine.residency, "want", no_thread)
            with pytest.raises(RuntimeError, match="thread"):
                rig.submit(rig.ner(TEXT), key="a")
        assert rig.metrics.value("glossa_queue_requests") == 0
        assert rig.metrics.value("glossa_queue_tokens") == 0
        await rig.answer(rig.ner(TEXT))

    run(home, check)


def test_what_fits_no_batch_or_no_queue_is_refused_and_never_loops(home: Home) -> None:
    async def check(rig: Rig) -> None:
        with pytest.raises(BodyTooLarge, match="fits no batch"):
            rig.submit(rig.ner(" ".join(["leo"] * 30)))
        with pytest.raises(BodyTooLarge, match="whole queue"):
            rig.submit(*[rig.ner(TEXT)] * 20)
        assert len((await rig.answer(rig.ner(TEXT))).answers) == 1
        assert rig.forward.batches == [1]

    run(home, check, batch_tokens=16, queue_tokens=64)


def test_an_adapter_that_cannot_be_loaded_fails_its_own_requests_only(own_home: Home) -> None:
    lost = own_home.version("sw")
    with own_home.registry() as registry:
        registry.store.delete(lost.weights_digest)

    async def check(rig: Rig) -> None:
        broken, sound = rig.submit(rig.ner(TEXT, "sw")), rig.submit(rig.ner(TEXT, "en"))
        error = await error_of(broken)
        assert isinstance(error, AdapterLoadFailed)
        assert "sw@1" in str(error)
        assert len((await patiently(sound)).answers) == 1
        assert isinstance(await error_of(rig.submit(rig.ner(TEXT, "sw"))), AdapterLoadFailed)

    run(own_home, check)


def test_a_load_that_has_failed_does_not_wait_for_one_that_hangs(own_home: Home) -> None:
    lost = own_home.version("ner")
    with own_home.registry() as registry:
        registry.store.delete(lost.weights_digest)

    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        error = await error_of(rig.submit(rig.ner(TEXT, "sw")))
        assert isinstance(error, AdapterLoadFailed)
        assert "ner@1" in str(error)
        assert rig.metrics.value("glossa_queue_requests") == 0
        rig.loads.gate.set()
        await rig.answer(rig.fill(TEXT, "sw"))

    run(own_home, check)


def test_a_slow_load_holds_up_nobody_else_and_happens_once(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.loads.held.add("sw@1")
        slow = [rig.submit(rig.ner(TEXT, "sw")) for _ in range(5)]
        await rig.answer(rig.ner(TEXT, "en"))
        assert not any(future.done() for future in slow)
        rig.loads.gate.set()
        answers = [await patiently(future) for future in slow]
        assert all(same(answers[0], answer) for answer in answers)
        assert rig.loads.references.count("sw@1") == 1

    run(home, check)


def test_a_stack_larger_than_the_memory_for_adapters_is_refused(home: Home) -> None:
    async def check(rig: Rig) -> None:
        assert isinstance(await error_of(rig.submit(rig.ner(TEXT, "en"))), AdapterLoadFailed)
        assert len((await rig.answer(rig.ner(TEXT))).answers) == 1

    run(home, check, adapter_bytes=9_200)


def test_adapters_that_do_not_fit_together_take_turns(home: Home) -> None:
    async def check(rig: Rig) -> None:
        for _ in range(2):
            futures = [rig.submit(rig.fill(TEXT, language)) for language in ("en", "sw")]
            assert [len((await patiently(future)).answers) for future in futures] == [1, 1]
        assert (rig.metrics.value("glossa_evictions_total", tier="device") or 0) >= 2
        assert (rig.metrics.value("glossa_resident_bytes", tier="device") or 0) <= 12_000

    run(home, check, adapter_bytes=12_000)


def test_an_engine_that_dies_answers_everybody_and_turns_red(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures.append(SystemExit())
        running = rig.submit(rig.ner(TEXT))
        await rig.forward.running()
        queued = rig.submit(rig.ner(TEXT))
        rig.forward.gate.set()
        assert isinstance(await error_of(running), NotReady)
        assert isinstance(await error_of(queued), NotReady)
        await until(lambda: not rig.engine.is_alive)
        assert not rig.engine.is_ready
        with pytest.raises(NotReady):
            rig.submit(rig.ner(TEXT))

    run(home, check, gated=True)
    assert "the engine died: SystemExit" in caplog.text


def test_an_engine_that_is_stuck_turns_red_until_it_goes_on(home: Home) -> None:
    async def check(rig: Rig) -> None:
        stuck = rig.submit(rig.ner(TEXT))
        await rig.forward.running()
        await until(lambda: not rig.engine.is_alive)
        rig.forward.gate.set()
        await patiently(stuck)
        await until(lambda: rig.engine.is_alive)

    run(home, check, gated=True, stuck_after_s=1.5)


def test_an_idle_engine_computes_now_and_then_and_turns_red_on_nonsense(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forwards, "PULSE_EVERY_S", 0.01)

    async def check(rig: Rig) -> None:
        weight = rig.model.loaded.backbone.word_embedding
        sound = weight.clone()
        with torch.inference_mode():
            weight.fill_(float("nan"))
        await until(lambda: not rig.engine.is_alive)
        with torch.inference_mode():
            weight.copy_(sound)
        await until(lambda: rig.engine.is_ready)
        assert len((await rig.answer(rig.ner(TEXT))).answers) == 1

    run(home, check)
    assert "the backbone's output is not finite" in caplog.text


def test_left_out_layers_reach_the_forward(home: Home) -> None:
    async def check(rig: Rig) -> None:
        whole = rig.ner(TEXT, "sw")
        without_all = replace(whole, leave_out=(0, 1))
        bare = replace(whole, language=None)
        first, second, third = [await rig.answer(row) for row in (whole, without_all, bare)]
        assert same(second, third)
        assert not same(first, second)

    run(home, check)


def test_a_backbone_that_cannot_be_opened_says_so(home: Home, tmp_path: Any) -> None:
    async def main() -> None:
        with pytest.raises(GlossaError, match=r"config\.json"):
            async with running_engine(replace(home, backbone=tmp_path)):
                pytest.fail("the engine started without a backbone")

    asyncio.run(main())


def test_a_start_that_is_given_up_ends_the_thread_without_an_error(home: Home) -> None:
    opening, gate = threading.Event(), threading.Event()

    def opened() -> Model:
        opening.set()
        assert gate.wait(PATIENCE_S)
        return open_model(home.settings())

    def open_residency(model: Model, _wake: Callable[[], None]) -> Residency:
        memory = Memory(device_bytes=1, host_bytes=0, loaders=1, fetches=1, load_timeout_s=PATIENCE_S)
        return Residency(model=model, read=load, limits=memory, wake=_wake, metrics=Metrics())

    def load(version: Version, _came: Came) -> Weights:
        raise AssertionError(f"nobody asked for {version.reference}")

    async def main() -> None:
        limits = EngineLimits(
            queue_tokens=64, queue_s=PATIENCE_S, batch_tokens=64, batch_s=PATIENCE_S, stuck_after_s=PATIENCE_S
        )
        engine = Engine(open_model=opened, open_residency=open_residency, limits=limits, metrics=Metrics())
        start = asyncio.create_task(engine.start())
        assert await asyncio.to_thread(opening.wait, PATIENCE_S)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        gate.set()
        await engine.stop()
        assert not engine.is_ready

    asyncio.run(main())
