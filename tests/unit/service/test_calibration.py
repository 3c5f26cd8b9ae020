"""Timed forwards -> costs: right where they are clean, within bounds whatever they are."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.calibration import Timings, attention_of, fit, measure
from service.model import open_model
from tests.support.served import Home

SECONDS = st.floats(1e-6, 100.0)


def made(*, fixed_s: float, token_s: float, language: float, task: float, masked: float) -> Timings:
    """What a machine with exactly these costs would take: 4 rows of 8 or of 40 tokens, 8 masks in each row."""

    def seconds(tokens: int, languages: int, tasks: int, masks: int) -> float:
        return fixed_s + token_s * (tokens + languages * language + tasks * task + masks * masked)

    return Timings(
        short_s=seconds(32, 1, 1, 0),
        long_s=seconds(160, 1, 1, 0),
        languages_s=seconds(32, 2, 1, 0),
        tasks_s=seconds(32, 1, 2, 0),
        masked_s=seconds(32, 1, 1, 32),
    )


def test_clean_timings_give_their_costs_back(home: Home) -> None:
    timings = made(fixed_s=0.02, token_s=1e-3, language=3.0, task=1.0, masked=2.25)
    costs = fit(timings, home.loaded.config)
    assert costs.seconds_per_token == pytest.approx(1e-3)
    assert costs.fixed_s == pytest.approx(0.02)
    assert (costs.language, costs.task, costs.masked) == pytest.approx((3.0, 1.0, 2.25))


def test_a_backbone_without_a_masked_lm_head_has_no_cost_for_it(home: Home) -> None:
    timings = Timings(short_s=1.0, long_s=5.0, languages_s=1.0, tasks_s=1.0, masked_s=None)
    assert fit(timings, home.loaded.config).masked == 0.0


@given(SECONDS, SECONDS, SECONDS, SECONDS, st.none() | SECONDS)
def test_no_noise_gives_costs_that_make_no_sense(
    home: Home, short_s: float, long_s: float, languages_s: float, tasks_s: float, masked_s: float | None
) -> None:
    timings = Timings(short_s=short_s, long_s=long_s, languages_s=languages_s, tasks_s=tasks_s, masked_s=masked_s)
    costs = fit(timings, home.loaded.config)
    assert long_s / 160 / 4 <= costs.seconds_per_token * (1 + 1e-9)
    assert costs.seconds_per_token <= long_s / 128
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
