"""Timed forwards -> costs: right where they are clean, within bounds whatever they are."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from madx.forward import Row
from madx.lanes import Lanes
from madx.plan import RowStack
from service.calibration import Timings, attention_of, fit, measure, timed
from service.model import open_model
from tests.support.served import Home

SECONDS = st.floats(1e-6, 100.0)


def made(*, fixed_s: float, token_s: float, attention: float, language: float, task: float, masked: float) -> Timings:
    """What a machine with exactly these costs would take: 8 rows of 4 or of 100 tokens, 4 masks in each row."""

    def seconds(tokens: int, languages: int, tasks: int, masks: int) -> float:
        computed = 8 * (tokens + attention * tokens * tokens)
        return fixed_s + token_s * (computed + languages * language + tasks * task + masks * masked)

    return Timings(
        rows=8,
        long=100,
        adapters=5,
        short_s=seconds(4, 1, 1, 0),
        long_s=seconds(100, 1, 1, 0),
        languages_s=seconds(4, 5, 1, 0),
        tasks_s=seconds(4, 1, 5, 0),
        masked_s=seconds(4, 1, 1, 32),
    )


def test_clean_timings_give_their_costs_back(home: Home) -> None:
    timings = made(
        fixed_s=0.02, token_s=1e-3, attention=attention_of(home.loaded.config), language=3.0, task=1.0, masked=2.25
    )
    costs = fit(timings, home.loaded.config)
    assert costs.seconds_per_token == pytest.approx(1e-3)
    assert costs.fixed_s == pytest.approx(0.02)
    assert (costs.language, costs.task, costs.masked) == pytest.approx((3.0, 1.0, 2.25))


def test_a_backbone_without_a_masked_lm_head_has_no_cost_for_it(home: Home) -> None:
    timings = Timings(
        rows=8, long=100, adapters=5, short_s=1.0, long_s=5.0, languages_s=1.0, tasks_s=1.0, masked_s=None
    )
    assert fit(timings, home.loaded.config).masked == 0.0


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.none() | SECONDS)
def test_no_noise_gives_costs_that_make_no_sense(
    home: Home, short_s: float, long_s: float, languages_s: float, tasks_s: float, masked_s: float | None
) -> None:
    timings = Timings(
        rows=8,
        long=100,
        adapters=5,
        short_s=short_s,
        long_s=long_s,
        languages_s=languages_s,
        tasks_s=tasks_s,
        masked_s=masked_s,
    )
    costs = fit(timings, home.loaded.config)
    short, long = 8 * costs.of_row(4, 0), 8 * costs.of_row(100, 0)
    assert long_s / long / 4 <= costs.seconds_per_token * (1 + 1e-9)
    assert costs.seconds_per_token <= max(long_s / (long - short), 1e-9) * (1 + 1e-9)
    assert 0.0 <= costs.fixed_s <= short_s
    assert all(0.0 <= cost <= 2_048 for cost in (costs.language, costs.task, costs.masked))


def test_attention_costs_what_its_products_do(home: Home) -> None:
    """XLM-R base: 18,432 s multiplications for a token in a row of s, beside 84,934,656."""
    base = replace(home.loaded.config, hidden_size=768, intermediate_size=3072, num_layers=12, num_heads=12)
    assert attention_of(base) == pytest.approx(18_432 / 84_934_656)


def test_measuring_leaves_the_bank_as_it_was(home: Home) -> None:
    model = open_model(home.settings())
    timings = measure(model)
    assert len(model.bank) == 0
    costs = fit(timings, model.loaded.config)
    assert math.isfinite(costs.seconds_per_token)
    assert timings.masked_s is not None


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 16])
def test_in_every_lane_there_are_as_many_adapters_more_as_in_the_others(home: Home, lanes: int) -> None:
    """A lane that has one alone shows nothing of what several cost."""
    model = open_model(home.settings())
    batches: list[list[RowStack]] = []

    def seen(rows: Sequence[Row]) -> list[torch.Tensor]:
        batches.append([row.stack for row in rows])
        return model.infer(rows)

    timings = measure(replace(model, infer=seen, lanes=Lanes(lanes) if lanes > 1 else None))
    assert timings.rows == lanes * len(batches[0])
    kinds = {(len({stack.language for stack in batch}), len({stack.task for stack in batch})) for batch in batches}
    (more,) = {most for most in (languages for languages, _ in kinds) if most > 1}
    assert kinds == {(1, 1), (more, 1), (1, more)}
    for place in ("language", "task"):
        mixed = [batch for batch in batches if len({getattr(stack, place) for stack in batch}) > 1]
        assert len({getattr(stack, place) for batch in mixed for stack in batch}) == timings.adapters
    assert timings.adapters == lanes * (more - 1) + 1


def test_what_is_timed_has_been_recorded_by_then() -> None:
    """Two trials of one shape, recorded when it comes for the fourth time, and one of another."""
    now_s = 0.0
    seen: Counter[str] = Counter()

    def trial(shape: str, replayed_s: float) -> None:
        nonlocal now_s
        seen[shape] += 1
        now_s += 0.1 if seen[shape] < 4 else 5.0 if seen[shape] == 4 else replayed_s

    trials = {
        "one": lambda: trial("small", 0.2),
        "other": lambda: trial("small", 0.3),
        "large": lambda: trial("large", 0.4),
    }
    found = timed(trials, warm_ups=4, clock=lambda: now_s)
    assert found == pytest.approx({"one": 0.2, "other": 0.3, "large": 0.4})


def test_what_else_the_machine_does_costs_nothing() -> None:
    now_s = 0.0
    took_s = iter([9.0, 0.3, 0.2] + [0.5] * 10)

    def trial() -> None:
        nonlocal now_s
        now_s += next(took_s)

    assert timed({"one": trial}, warm_ups=1, clock=lambda: now_s)["one"] == pytest.approx(0.2)
