"""Lets publishers live and die (`mortal`), remembers what they were answered, and holds the registry to it."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry import aliases, catalog
from registry.fsck import fsck
from registry.registry import Registry
from registry.versions import get_version
from tests.support.made_adapters import made_adapter
from tests.support.places import Place

SUPPORT = Path(__file__).parent


@dataclass(slots=True)
class Answered:
    """Version numbers by seed, and alias targets by revision, as publishers were told them."""

    numbers: dict[int, int] = field(default_factory=dict)
    moves: dict[int, int | None] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        word, *rest = line.split()
        if word == "version":
            seed, number = map(int, rest)
            assert self.numbers.setdefault(seed, number) == number, "one content was given two numbers"
        elif word == "alias":
            revision, number = map(int, rest)
            assert self.moves.setdefault(revision, number) == number, "one revision points at two versions"
        elif word == "failed":
            self.failures.append(line)

    def assert_there(self, registry: Registry) -> None:
        """Nothing is broken, and all that was answered is there: versions byte for byte, moves in the history."""
        assert self.failures == []
        assert fsck(registry).broken == ()
        for seed, number in self.numbers.items():
            manifest, weights = made_adapter(seed=seed)
            version = get_version(registry, "sw", number)
            assert version.deleted_at is None
            assert version.manifest_bytes == manifest
            with registry.store.open(version.weights_digest) as stream:
                assert stream.read() == weights
        history = aliases.alias_history(registry, "sw", "production")
        assert self.moves.items() <= {move.revision: move.number for move in history}.items()
        numbers = [version.number for version in catalog.show(registry, "sw").versions]
        assert numbers == list(range(1, len(numbers) + 1))


@dataclass(slots=True, kw_only=True)
class Publishers:
    """One life at a time. `answered` is what all of them were told."""

    place: Place
    process: subprocess.Popen[str]
    answered: Answered = field(default_factory=Answered)

    def steps(self, seed: int, *, sweep: bool = False) -> list[str]:
        """What one publish and one alias move go through, or one collection."""
        told = self._lines(seed=seed, rounds=1, tell=True, sweep=sweep)
        return [line.split(maxsplit=2)[2] for line in told if line.startswith("step ")]

    def die_at(self, step: int, seed: int, *, sweep: bool = False) -> bool:
        """Whether it came to that step; else it lived through its only round."""
        return self._ended(self._lines(seed=seed, rounds=1, die_at=step, sweep=sweep))

    def die_within(self, seconds: float, seed: int) -> bool:
        lines = self._lines(seed=seed, rounds=1_000_000)
        child = int(next(lines).split()[1])
        time.sleep(random.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        return self._ended(lines)

    def live(self, seed: int) -> Iterator[str]:
        """What it says while it publishes on and on, waiting for servers that are away. The first line names its id."""
        return self._lines(seed=seed, rounds=1_000_000, patient=True)

    def _ended(self, lines: Iterator[str]) -> bool:
        *_, last = lines
        return last == f"ended {-signal.SIGKILL}"

    def _lines(self, **order: Any) -> Iterator[str]:
        """Until its end has been told."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        where = {"home": str(self.place.home), "database_url": self.place.database_url, "blob_url": self.place.blob_url}
        self.process.stdin.write(json.dumps(where | order) + "\n")
        self.process.stdin.flush()
        # Children of a dead one may say their last words late, but each line of theirs is whole.
        for line in iter(self.process.stdout.readline, ""):
            self.answered.hear(line)
            yield line.rstrip("\n")
            if line.startswith("ended "):
                return
        raise AssertionError("the publishers' process has ended")


@contextmanager
def publishers(place: Place, folder: Path, python: Path) -> Iterator[Publishers]:
    """Runs in `folder`, which gets a copy of the script: nothing of the checkout is on its path."""
    for name in ("made_adapters.py", "mortal.py"):
        shutil.copy(SUPPORT / name, folder)
    process = subprocess.Popen(
        [python, "mortal.py"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Publishers(place=place, process=process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its child too
        process.communicate()


def until(lines: Iterator[str], enough: Callable[[str], bool], times: int = 1) -> None:
    """Read on until `times` lines were what is waited for."""
    for line in lines:
        times -= enough(line)
        if times <= 0:
            return
