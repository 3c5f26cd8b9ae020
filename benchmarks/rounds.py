"""Sides that race on the same rows, step by step in turn, so that what slows the machine slows all of them.

A side turns a round's rows into steps; after each step the side that is furthest behind runs its next one. Each round
begins with another side.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .figures import Ratio
from .traffic import Ask, tokens_of

Speeds = dict[str, list[float]]
"""Name of a side -> its tokens per second, round by round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A batch, or several side by side: tokens without padding, and what computes them and says in how many seconds."""

    tokens: int
    run: Callable[[], float]


class Side(Protocol):
    def steps(self, rows: Sequence[Ask]) -> Sequence[Step]:
        """Every row in exactly one step."""


def timed(compute: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    compute()
    return time.perf_counter() - began_s


def race(sides: Mapping[str, Side], rows: Sequence[Ask]) -> dict[str, float]:
    """One round: tokens per second of each side. Raises `ValueError` where a side leaves rows out."""
    total = tokens_of(rows)
    ahead = {name: deque(side.steps(rows)) for name, side in sides.items()}
    for name, steps in ahead.items():
        if sum(step.tokens for step in steps) != total:
            raise ValueError(f"{name} computes {sum(step.tokens for step in steps)} tokens of {total}")
    done = dict.fromkeys(sides, 0)
    seconds = dict.fromkeys(sides, 0.0)
    while any(ahead.values()):
        name = min((name for name in sides if ahead[name]), key=lambda name: done[name])
        step = ahead[name].popleft()
        seconds[name] += step.run()
        done[name] += step.tokens
    return {name: total / seconds[name] for name in sides}


def races(sides: Mapping[str, Side], rounds: Iterable[Sequence[Ask]]) -> Speeds:
    """Every round on rows of its own. The first is not counted: it warms caches and allocators up."""
    speeds: Speeds = {name: [] for name in sides}
    names = list(sides)
    for number, rows in enumerate(rounds):
        first = number % len(names)
        result = race({name: sides[name] for name in names[first:] + names[:first]}, rows)
        shown = ", ".join(f"{name} {speed:,.0f}" for name, speed in result.items())
        print(f"{f'round {number}' if number else 'warm-up'}, tokens/s: {shown}", file=sys.stderr)
        if number:
            for name, speed in result.items():
                speeds[name].append(speed)
    return speeds


def ratio(speeds: Speeds, numerator: str, denominator: str) -> Ratio:
    return Ratio(samples=tuple(zip(speeds[numerator], speeds[denominator], strict=True)))


def fastest(sides: Mapping[str, Side], rows: Sequence[Ask]) -> str:
    """The name of the side that needs the least time for `rows`, each after a step of warming up."""
    seconds: dict[str, float] = {}
    for name, side in sides.items():
        steps = side.steps(rows)
        steps[0].run()
        seconds[name] = sum(step.run() for step in steps)
    print("trial, s: " + ", ".join(f"{name} {spent:.2f}" for name, spent in seconds.items()), file=sys.stderr)
    return min(seconds, key=lambda name: seconds[name])
