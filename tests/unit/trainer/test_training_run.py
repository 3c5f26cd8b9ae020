"""One run in its folder: which weights are best, when it stops, and what a resumption finds."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.checkpoints import load
from trainer.errors import Diverged, Interrupted
from trainer.loop import BatchLoss, Optimisation, Schedule
from trainer.run import Assessment, Course, Estimate, Outcome, Watcher, pursue


class Counter(nn.Module):
    """One weight that every step moves, so that a copy of it tells which step it was taken at."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def course(model: Counter, scores: list[float], *, patience: int = 0) -> Course[int]:
    """Ten steps, evaluated after every second one; the n-th evaluation gives the n-th score."""

    def assess() -> Assessment:
        return Assessment(score=(score := scores.pop(0)), metrics={"score": score})

    return Course(
        parameters=dict(model.named_parameters()),
        loss_of=lambda number: BatchLoss(loss=-model.weight * 1.0, tokens=number),
        batch_at=lambda number: number,
        baseline=lambda: Assessment(score=-1.0, metrics={"score": -1.0}),
        assess=assess,
        settings=lambda steps: Optimisation(schedule=Schedule(peak=1.0, total=steps, decay="constant"), seed=0),
        steps=10,
        evaluate_every=2,
        patience=patience,
    )


def pursued(scores: list[float], folder: Path, *, patience: int = 0, watcher: Watcher | None = None) -> Outcome:
    return pursue(course(Counter(), list(scores), patience=patience), folder, watcher or Watcher())


def stop_after(step: int) -> Watcher:
    seen: list[int] = []
    return Watcher(on_step=lambda made: seen.append(made.number), should_stop=lambda: len(seen) >= step)


def test_the_best_assessment_decides_and_the_weights_are_of_that_step(tmp_path: Path) -> None:
    outcome = pursued([0.1, 0.5, 0.3, 0.4, 0.2], tmp_path)
    assert (outcome.best_step, outcome.steps, outcome.metrics) == (4, 10, {"score": 0.5})
    assert outcome.best["weight"].item() == pytest.approx(4.0, abs=1e-3)
    assert outcome.baseline == {"score": -1.0}
    assert outcome.tokens == sum(range(1, 11))


def test_a_tie_is_not_better(tmp_path: Path) -> None:
    assert pursued([0.5, 0.5, 0.5, 0.5, 0.5], tmp_path).best_step == 2


def test_a_score_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="after step 6 gave nan"):
        pursued([0.0, 0.5, math.nan], tmp_path)


def test_patience_runs_out_on_a_plateau(tmp_path: Path) -> None:
    outcome = pursued([0.1, 0.5, 0.5, 0.4, 0.9], tmp_path, patience=2)
    assert (outcome.steps, outcome.best_step) == (8, 4)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = pursued([0.1, 0.5, 0.3, 0.4, 0.2], tmp_path)
    steps: list[int] = []
    again = pursued([], tmp_path, watcher=Watcher(on_step=lambda step: steps.append(step.number)))
    assert steps == []
    assert (again.best_step, again.seconds, again.metrics) == (first.best_step, first.seconds, first.metrics)
    assert torch.equal(again.best["weight"], first.best["weight"])


@pytest.mark.parametrize("after", [1, 4, 5])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, after: int) -> None:
    scores = [0.1, 0.5, 0.3, 0.4, 0.2]
    whole = pursued(scores, tmp_path / "whole")
    with pytest.raises(Interrupted, match=f"step {after} of 10; the checkpoint is in .*the same command"):
        pursued(scores, tmp_path / "broken", watcher=stop_after(after))
    found = load(tmp_path / "broken")
    assert found is not None
    assert found.step == after
    numbers: list[int] = []
    watcher = Watcher(on_step=lambda step: numbers.append(step.number))
    resumed = pursued(scores[after // 2 :], tmp_path / "broken", watcher=watcher)
    assert numbers == list(range(after + 1, 11))
    assert (resumed.best_step, resumed.tokens, resumed.metrics) == (whole.best_step, whole.tokens, whole.metrics)
    assert torch.equal(resumed.best["weight"], whole.best["weight"])


def test_patience_is_remembered_over_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        pursued([0.5, 0.4], tmp_path, patience=2, watcher=stop_after(4))
    assert pursued([0.3, 0.9, 0.9], tmp_path, patience=2).steps == 6


def test_the_estimate_is_told_before_the_first_step_and_leaves_no_trace(tmp_path: Path) -> None:
    told: list[object] = []
    watcher = Watcher(on_estimate=told.append, on_step=lambda step: told.append(step.number))
    outcome = pursued([0.1, 0.2, 0.3, 0.4, 0.5], tmp_path, watcher=watcher)
    estimate = told[0]
    assert isinstance(estimate, Estimate)
    assert (estimate.steps, estimate.assessments) == (10, 5)
    assert estimate.minutes > 0
    assert told[1:] == list(range(1, 11))
    assert outcome.best["weight"].item() == pytest.approx(10.0, abs=1e-3)


def test_minutes_lower_the_number_of_steps_and_the_schedule_with_it(tmp_path: Path) -> None:
    totals: list[int] = []

    def settings(steps: int) -> Optimisation:
        totals.append(steps)
        return Optimisation(schedule=Schedule(peak=1.0, total=steps), seed=0)

    long = replace(course(Counter(), [0.0] * 10**6), steps=10**6, max_minutes=0.002, settings=settings)
    outcome = pursue(long, tmp_path, Watcher())
    assert totals[-1] == outcome.planned < 10**6
    assert 1 <= outcome.steps <= outcome.planned
    assert outcome.best_step >= 1


def test_a_run_that_is_slower_than_estimated_still_ends_in_time(tmp_path: Path) -> None:
    dawdling = Watcher(on_step=lambda _: time.sleep(0.06))
    outcome = pursue(replace(course(Counter(), [0.3] * 10), max_minutes=0.004), tmp_path, dawdling)
    assert outcome.planned == 10
    assert outcome.steps < 10
    assert outcome.best_step <= outcome.steps
