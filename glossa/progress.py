"""How a training run goes, on stderr: a bar on a terminal, else a plain line now and then.

The rate counts tokens over the last steps; the time left counts everything since the run began here, evaluations too.
"""

import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from trainer.loop import Step
from trainer.run import Assessment, Estimate, Watcher

_LINE_EVERY_S = 15.0
_RECENT_STEPS = 20


class TrainingProgress:
    """Watches one run. `should_stop` is handed on to the run."""

    def __init__(self, title: str, *, console: Console | None = None, line_every_s: float = _LINE_EVERY_S) -> None:
        self._title = title
        self._console = Console(stderr=True) if console is None else console
        self._line_every_s = line_every_s
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=_RECENT_STEPS)  # (seconds, tokens, loss)
        self._first: tuple[int, float] | None = None
        self._said_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[said]}"),
            )
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watcher(self, should_stop: Callable[[], bool]) -> Watcher:
        return Watcher(
            on_estimate=self.on_estimate,
            on_step=self.on_step,
            on_assessment=self.on_assessment,
            should_stop=should_stop,
        )

    def say(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", markup=False, highlight=False, soft_wrap=True)

    def on_estimate(self, estimate: Estimate) -> None:
        self.say(f"{estimate.steps} steps, expected to take {_duration(60 * estimate.minutes)}")

    def on_assessment(self, step: int, found: Assessment) -> None:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.metrics.items())
        self.say(f"{'at the start' if step == 0 else f'step {step}'}: {scores}")

    def on_step(self, step: Step) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = (step.number - 1, now - step.seconds)
        self._recent.append((step.seconds, step.tokens, step.loss))
        said = f"loss {self._loss():.3f}, {self._rate():,.0f} tokens/s, {_duration(self._seconds_left(step, now))} left"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(self._title, total=step.total, said="")
            self._bar.update(self._task, completed=step.number, said=said)
        elif now - self._said_s >= self._line_every_s or step.number == step.total:
            self._said_s = now
            self.say(f"step {step.number} of {step.total}, {said}")

    def _loss(self) -> float:
        return sum(loss for _, _, loss in self._recent) / len(self._recent)

    def _rate(self) -> float:
        seconds = sum(seconds for seconds, _, _ in self._recent)
        return sum(tokens for _, tokens, _ in self._recent) / max(seconds, 1e-9)

    def _seconds_left(self, step: Step, now: float) -> float:
        assert self._first is not None
        done, since = self._first
        return (now - since) / (step.number - done) * (step.total - step.number)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 90 * 60:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"
