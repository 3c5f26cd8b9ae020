"""What a forward that fails, or gives no numbers, does to its rows, to the batches after it and to liveness."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from madx.bank import Staged
from madx.checkpoint import with_weights
from madx.manifest import from_bytes, to_bytes
from madx.plan import Slot
from service import forwards
from service.errors import InternalError
from service.logs import REQUEST_ID
from service.readout import Logits, Ranked
from tests.support import tiny
from tests.support.recorded import recorded
from tests.support.served import PATIENCE_S, Home, Rig, patiently, running_engine

TEXT = "Juma lives in Nairobi"
BATCH_TOKENS = 256


def run(home: Home, test: Callable[[Rig], Coroutine[Any, Any, None]], **limits: Any) -> None:
    async def main() -> None:
        async with running_engine(home, batch_tokens=BATCH_TOKENS, **limits) as rig:
            await test(rig)

    asyncio.run(main())


async def refused(rig: Rig, language: str | None = None) -> str:
    with pytest.raises(InternalError) as caught:
        await rig.answer(rig.ner(TEXT, language))
    return str(caught.value)


async def widest_batch(rig: Rig) -> int:
    """Tokens of the largest batch of a bulk."""
    row = rig.ner(TEXT)
    before = len(rig.forward.batches)
    await rig.answer(*[row] * (BATCH_TOKENS // len(row.input_ids) * 3))
    return max(rig.forward.batches[before:]) * len(row.input_ids)


def is_wide(tokens: int) -> bool:
    return tokens > BATCH_TOKENS / 2


def test_memory_that_one_row_lacks_leaves_batches_as_wide_as_they_were(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures.append(torch.OutOfMemoryError("full"))
        await refused(rig)
        assert is_wide(await widest_batch(rig))

    run(home, check)


def test_memory_that_a_few_rows_lack_leaves_batches_as_wide_as_they_were(home: Home) -> None:
    async def check(rig: Rig) -> None:
        rig.forward.failures.append(torch.OutOfMemoryError("full"))
        assert len((await rig.answer(rig.ner("leo"), rig.ner("leo"))).answers) == 2
        assert is_wide(await widest_batch(rig))

    run(home, check)


def test_memory_that_an_adapter_lacks_is_no_fault_of_the_batch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for it is made beside the batch, however large that is."""

    async def check(rig: Rig) -> None:
        add, failures = rig.model.bank.add, [torch.OutOfMemoryError("full")]

        def full_at_first(staged: Staged) -> Slot:
            if failures:
                raise failures.pop()
            return add(staged)

        monkeypatch.setattr(rig.model.bank, "add", full_at_first)
        row = rig.ner(TEXT)
        assert len((await rig.answer(*[row] * (BATCH_TOKENS // len(row.input_ids)))).answers) > 1
        assert failures == []
        assert is_wide(await widest_batch(rig))

    run(home, check)


def damage(rig: Rig, value: float) -> None:
    with torch.no_grad():
        for weight in rig.model.loaded.backbone.parameters():
            weight.fill_(value)


def test_traffic_hides_no_damage_of_the_backbone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(rig: Rig) -> None:
        until_s = time.monotonic() + PATIENCE_S
        await rig.answer(rig.ner(TEXT, "en"))
        REQUEST_ID.set("broken")
        damage(rig, float("nan"))
        monkeypatch.setattr(forwards, "PULSE_EVERY_S", 0.01)
        while rig.engine.is_alive:
            assert time.monotonic() < until_s
            assert "not finite" in await refused(rig, "en")
        monkeypatch.setattr(forwards, "PULSE_EVERY_S", PATIENCE_S)
        await refused(rig)
        with pytest.raises(InternalError):
            await rig.answer(rig.fill(TEXT))
        assert not rig.engine.is_alive
        damage(rig, 0.0)
        assert len((await rig.answer(rig.ner(TEXT))).answers) == 1
        assert rig.engine.is_alive

    with recorded() as recorder:
        run(home, check)
    told = recorder.of("service.forwards")
    assert any("they ran through en@1, ner@1" in line["message"] for line in told)
    assert {line["request_id"] for line in told if "answers of" in line["message"]} == {"broken"}


def publish_overflowing(home: Home, name: str) -> None:
    """An adapter whose weights are finite, and whose results are not."""
    manifest, weights = tiny.language_checkpoint(home.loaded, name, seed=4)
    large = save({key: torch.full_like(tensor, 3e38) for key, tensor in load(weights).items()})
    home.publish(name, (to_bytes(with_weights(from_bytes(manifest), large)), large))


def test_a_row_that_is_not_finite_takes_no_neighbour_with_it(own_home: Home) -> None:
    publish_overflowing(own_home, "ha")

    async def check(rig: Rig) -> None:
        alone = [await rig.answer(row) for row in (rig.ner(TEXT), rig.fill(TEXT))]
        await refused(rig, "ha")
        for _ in range(3):
            await rig.forward.running()  # that is, it has run
        rig.forward.gate.clear()
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        large, *sound = [rig.submit(row) for row in (rig.ner(TEXT, "ha"), rig.ner(TEXT), rig.fill(TEXT))]
        large_fill = rig.submit(rig.fill(TEXT, "ha"))
        rig.forward.gate.set()
        await patiently(blocker)
        for broken in (large, large_fill):
            with pytest.raises(InternalError):
                await patiently(broken)
        tagged, filled = [(await patiently(future)).answers[0] for future in sound]
        assert rig.forward.batches[-1] == 4
        assert np.allclose(cast(Logits, tagged), cast(Logits, alone[0].answers[0]), rtol=0, atol=1e-4)
        assert isinstance(filled, Ranked)
        assert filled.classes == cast(Ranked, alone[1].answers[0]).classes
        assert rig.engine.is_alive

    run(own_home, check)


def test_the_log_knows_the_request_that_failed_once_it_failed_alone(home: Home) -> None:
    async def check(rig: Rig) -> None:
        poison = rig.ner("kesho kesho kesho")
        rig.forward.poison = poison.input_ids
        blocker = rig.submit(rig.ner("leo"))
        await rig.forward.running()
        futures = []
        for request_id, row in {"sound": rig.ner(TEXT), "culprit": poison}.items():
            in_context = REQUEST_ID.set(request_id)
            futures.append(rig.submit(row))
            REQUEST_ID.reset(in_context)
        rig.forward.gate.set()
        await patiently(blocker)
        await patiently(futures[0])
        with pytest.raises(InternalError):
            await patiently(futures[1])

    with recorded() as recorder:
        run(home, check, gated=True)
    assert [line.get("request_id") for line in recorder.of("service.forwards")] == [None, "culprit"]
