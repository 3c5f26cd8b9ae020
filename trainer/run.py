"""One training run in its folder: resume, step, evaluate, keep the best, save, stop. All I/O around `loop` is here.

Jobs say what a step and an evaluation are (`Course`); callers watch (`Watcher`). A run that ends early for whatever
reason leaves a checkpoint that `pursue` takes up again.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

import torch

from .checkpoints import TrainingState, load, restore_trained, save, trained_tensors
from .errors import Diverged, Interrupted
from .loop import BatchLoss, Optimisation, Step, new_optimizer, train_steps
from .progress import Progress

Batch = TypeVar("Batch")

_CALIBRATION_STEPS = 3
_SAVE_EVERY_S = 30.0
# Saving may take at most this share of a run's time.
_SAVING_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """`score` decides which weights are best: higher is better. `metrics` are what people read."""

    score: float
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run is expected to take, from a few timed steps and one evaluation."""

    steps: int
    seconds_per_step: float
    assessments: int
    seconds_per_assessment: float

    @property
    def minutes(self) -> float:
        return (self.steps * self.seconds_per_step + self.assessments * self.seconds_per_assessment) / 60


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watcher:
    """What a run tells its caller, and how the caller stops it between two steps."""

    on_estimate: Callable[[Estimate], None] = lambda _: None
    on_step: Callable[[Step], None] = lambda _: None
    on_assessment: Callable[[int, Assessment], None] = lambda _step, _assessment: None
    should_stop: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True, kw_only=True)
class Course(Generic[Batch]):
    """What a job trains. `settings` makes the optimisation for a number of steps, which `max_minutes` may lower.

    `baseline` measures what the run starts from. `patience` counts assessments in a row without a better score, 0
    meaning without end. Two courses in one folder must be the same one.
    """

    parameters: Mapping[str, torch.nn.Parameter]
    loss_of: Callable[[Batch], BatchLoss]
    batch_at: Callable[[int], Batch]
    baseline: Callable[[], Assessment]
    assess: Callable[[], Assessment]
    settings: Callable[[int], Optimisation]
    steps: int
    evaluate_every: int
    patience: int = 0
    max_minutes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run. `steps` were made of `planned`; `seconds` count its own time over all resumptions."""

    best: dict[str, torch.Tensor]
    best_step: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    steps: int
    planned: int
    tokens: int
    seconds: float

    def measures(self) -> dict[str, float]:
        """What a manifest says of the run's size."""
        return {
            "best_step": float(self.best_step),
            "steps": float(self.steps),
            "tokens": float(self.tokens),
            "minutes": round(self.seconds / 60, 2),
        }


class _Run(Generic[Batch]):
    """The state of one process's work on a run."""

    def __init__(self, course: Course[Batch], folder: Path, watcher: Watcher) -> None:
        self.course = course
        self.folder = folder
        self.watcher = watcher
        self._since = time.monotonic()
        self._saved = self._since
        self._saving_s = 0.0
        state = load(folder)
        self.progress = self._begin() if state is None else Progress.of(state)
        self.settings = course.settings(self.progress.planned)
        self.optimizer = new_optimizer(course.parameters.values(), self.settings)
        if state is not None:
            restore_trained(state, course.parameters, self.optimizer)

    def _begin(self) -> Progress:
        """Measure the start and a few steps, whose changes are undone, and decide how many steps there will be."""
        course = self.course
        began = time.monotonic()
        baseline = course.baseline()
        seconds_per_assessment = time.monotonic() - began
        self.watcher.on_assessment(0, baseline)
        seconds_per_step = _seconds_per_step(course)
        planned = course.steps
        if course.max_minutes is not None:
            rate = seconds_per_step + seconds_per_assessment / course.evaluate_every
            budget = 60 * course.max_minutes - 2 * seconds_per_assessment
            planned = max(1, min(planned, int(budget / rate)))
        return Progress(
            planned=planned,
            seconds_per_step=seconds_per_step,
            seconds_per_assessment=seconds_per_assessment,
            baseline=baseline.metrics,
        )

    def estimate(self) -> Estimate:
        progress = self.progress
        steps = progress.planned - progress.step
        return Estimate(
            steps=steps,
            seconds_per_step=progress.seconds_per_step,
            assessments=math.ceil(steps / self.course.evaluate_every),
            seconds_per_assessment=progress.seconds_per_assessment,
        )

    def train(self) -> None:
        progress, course = self.progress, self.course
        steps = train_steps(self.optimizer, course.loss_of, course.batch_at, self.settings, done=progress.step)
        for step in steps:
            progress.step = step.number
            progress.tokens += step.tokens
            self.watcher.on_step(step)
            is_last = step.number == step.total or self._is_late()
            is_assessed = is_last or step.number % course.evaluate_every == 0
            if is_assessed:
                self._assess(step.number)
                progress.is_finished = is_last or 0 < course.patience <= progress.stale
            stops = self.watcher.should_stop()
            if is_assessed or stops or self._save_is_due():
                self.save()
            if progress.is_finished:
                return
            if stops:
                raise Interrupted(
                    f"stopped after step {step.number} of {step.total}; the checkpoint is in {self.folder}; "
                    "the same command goes on from there"
                )

    def _assess(self, step: int) -> None:
        progress = self.progress
        found = self.course.assess()
        if not math.isfinite(found.score):
            # It would compare as worse than nothing and better than everything, and no checkpoint could hold it.
            raise Diverged(f"the evaluation after step {step} gave {found.score}; lower the learning rate")
        self.watcher.on_assessment(step, found)
        # A tie is no improvement: patience must run out on a plateau.
        if progress.best_score is None or found.score > progress.best_score:
            progress.best_score, progress.best_step, progress.stale = found.score, step, 0
            progress.metrics = found.metrics
            progress.best = {name: tensor.detach().clone() for name, tensor in self.course.parameters.items()}
        else:
            progress.stale += 1

    def _is_late(self) -> bool:
        """Whether the last evaluation must start now to end in time."""
        limit = self.course.max_minutes
        return limit is not None and self._seconds() + self.progress.seconds_per_assessment > 60 * limit

    def _seconds(self) -> float:
        return self.progress.seconds + time.monotonic() - self._since

    def _save_is_due(self) -> bool:
        return time.monotonic() - self._saved > max(_SAVE_EVERY_S, self._saving_s / _SAVING_SHARE)

    def save(self) -> None:
        began = time.monotonic()
        progress = self.progress
        progress.seconds, self._since = self._seconds(), began
        tensors = trained_tensors(self.course.parameters, self.optimizer)
        tensors.update({f"best.{name}": tensor for name, tensor in progress.best.items()})
        save(self.folder, TrainingState(step=progress.step, tensors=tensors, facts=progress.facts()))
        self._saved = time.monotonic()
        self._saving_s = self._saved - began


def _seconds_per_step(course: Course[Batch]) -> float:
    """Time a few steps and put the weights back."""
    before = {name: parameter.detach().clone() for name, parameter in course.parameters.items()}
    settings = course.settings(max(course.steps, _CALIBRATION_STEPS + 1))
    optimizer = new_optimizer(course.parameters.values(), settings)
    timed = list(islice(train_steps(optimizer, course.loss_of, course.batch_at, settings), _CALIBRATION_STEPS + 1))
    with torch.no_grad():
        for name, parameter in course.parameters.items():
            parameter.copy_(before[name])
            parameter.grad = None
    # The first step warms up caches and allocators.
    return median(step.seconds for step in timed[1:])


def pursue(course: Course[Batch], folder: Path, watcher: Watcher) -> Outcome:
    """Start or resume the run in `folder` and bring it to its end. The caller holds the folder's lock.

    Raises `Interrupted` if the watcher stops it, `Diverged`, `DamagedCheckpoint`.
    """
    run = _Run(course, folder, watcher)
    progress = run.progress
    if not progress.is_finished:
        watcher.on_estimate(run.estimate())
        run.train()
    return Outcome(
        best=progress.best,
        best_step=progress.best_step,
        metrics=progress.metrics,
        baseline=progress.baseline,
        steps=progress.step,
        planned=progress.planned,
        tokens=progress.tokens,
        seconds=progress.seconds,
    )
