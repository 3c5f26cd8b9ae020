"""Races: sides take turns, every row is run by every side, the warm-up is not counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest

from benchmarks.rounds import Step, fastest, race, races, ratio
from benchmarks.traffic import Ask


def rows(count: int) -> list[Ask]:
    return [Ask(number=number, ids=(0, 5, 6, 2), language=0, task=0) for number in range(count)]


@dataclass(slots=True, kw_only=True)
class Clockwork:
    """Needs so many seconds for each row, in steps of `at_once` rows; what ran goes into the log."""

    name: str
    at_once: int
    seconds: float
    log: list[str] = field(default_factory=list)
    loses: int = 0

    def steps(self, asked: Sequence[Ask]) -> list[Step]:
        kept = asked[self.loses :]
        chunks = [kept[start : start + self.at_once] for start in range(0, len(kept), self.at_once)]
        return [Step(tokens=4 * len(chunk), run=partial(self._run, len(chunk))) for chunk in chunks]

    def _run(self, count: int) -> float:
        self.log.append(self.name)
        return self.seconds * count


def test_speed_counts_tokens_by_the_sides_own_clock() -> None:
    sides = {
        "fast": Clockwork(name="fast", at_once=2, seconds=0.5),
        "slow": Clockwork(name="slow", at_once=3, seconds=2),
    }
    assert race(sides, rows(6)) == {"fast": 8.0, "slow": 2.0}


def test_sides_run_in_turn_however_large_their_steps_are() -> None:
    log: list[str] = []
    sides = {
        "small": Clockwork(name="small", at_once=1, seconds=1, log=log),
        "large": Clockwork(name="large", at_once=3, seconds=1, log=log),
    }
    race(sides, rows(6))
    assert log == ["small", "large", "small", "small", "small", "large", "small", "small"]


def test_a_side_that_leaves_rows_out_is_found() -> None:
    with pytest.raises(ValueError, match="lazy computes 20 tokens of 24"):
        race({"lazy": Clockwork(name="lazy", at_once=2, seconds=1, loses=1)}, rows(6))


def test_the_warm_up_is_not_counted() -> None:
    sides = {name: Clockwork(name=name, at_once=2, seconds=seconds) for name, seconds in (("a", 1), ("b", 2))}
    speeds = races(sides, [rows(4)] * 6)
    assert len(speeds["a"]) == 5
    assert ratio(speeds, "a", "b").value == 2.0


def test_the_fastest_is_found_after_a_step_that_is_not_counted() -> None:
    sides = {"a": Clockwork(name="a", at_once=2, seconds=2), "b": Clockwork(name="b", at_once=4, seconds=1)}
    assert fastest(sides, rows(8)) == "b"
    assert len(sides["a"].log) == 5
