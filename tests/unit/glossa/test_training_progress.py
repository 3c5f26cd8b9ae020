"""What a run says: plain lines with loss, rate and time left, or a bar on a terminal."""

import io

from rich.console import Console

from glossa.progress import TrainingProgress
from trainer.loop import Step
from trainer.run import Assessment, Estimate


def _step(number: int, total: int = 4) -> Step:
    return Step(number=number, total=total, loss=2.0 + number, tokens=1000, learning_rate=0.1, seconds=0.5)


def _said(console: Console, *, line_every_s: float) -> str:
    assert isinstance(console.file, io.StringIO)
    with TrainingProgress("sw", console=console, line_every_s=line_every_s) as progress:
        watcher = progress.watcher(lambda: False)
        watcher.on_estimate(Estimate(steps=4, seconds_per_step=30.0, assessments=1, seconds_per_assessment=60.0))
        for number in range(1, 5):
            watcher.on_step(_step(number))
        watcher.on_assessment(4, Assessment(score=-9.0, metrics={"perplexity": 9.0}))
    return console.file.getvalue()


def test_lines_hold_loss_rate_and_time_left() -> None:
    said = _said(Console(file=io.StringIO()), line_every_s=0.0)
    assert "sw: 4 steps, expected to take 3.0 minutes" in said
    assert "sw: step 2 of 4, loss 3.500, 2,000 tokens/s, " in said
    assert "0 seconds left" in said.splitlines()[-2]
    assert said.splitlines()[-1] == "sw: step 4: perplexity 9.000"


def test_lines_come_seldom_but_for_the_last_step() -> None:
    said = _said(Console(file=io.StringIO()), line_every_s=3600.0)
    assert said.count("tokens/s") <= 2
    assert "step 4 of 4" in said


def test_a_terminal_gets_a_bar() -> None:
    said = _said(Console(file=io.StringIO(), force_terminal=True, width=120), line_every_s=0.0)
    assert "4/4" in said
    assert "2,000 tokens/s" in said
