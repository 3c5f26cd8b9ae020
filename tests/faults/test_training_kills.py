"""Training processes that are killed or interrupted at random moments, on the wheel: each resumes as if nothing was.

One process holds the libraries and the backbone and forks a child for every run, so that a kill costs no new start.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from registry import catalog, search
from registry.registry import Registry, open_registry
from registry.stores import Blob
from registry.stores.base import verify

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLS = 10
NURSERY = """
import json, os, sys
from dataclasses import replace
from pathlib import Path
import torch
from madx.loading import load_backbone
from tests.support.tiny import make_backbone
from tests.support.training import language_spec, workplace, write_text
from trainer.errors import Interrupted
from trainer.interrupts import stop_on_interrupt
from trainer.jobs.language import train_language
from trainer.run import Watcher

def say(**fields):
    os.write(1, json.dumps(fields).encode() + b"\\n")

def run(name):
    place = workplace(folder / "home", loaded)
    spec = language_spec(text, name=name, steps=120)
    with stop_on_interrupt() as stopped:
        watcher = Watcher(on_step=lambda step: say(step=step.number), should_stop=stopped)
        try:
            spec = replace(spec, recipe=replace(spec.recipe, evaluate_every=6))
            say(done=train_language(place, spec, watcher).reference)
        except Interrupted as error:
            say(interrupted=str(error))

torch.set_num_threads(1)
folder = Path(sys.argv[1])
loaded = load_backbone(make_backbone(folder / "tiny"))
text = write_text(folder / "made.txt")
say(ready=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(line.strip())
        os._exit(0)
    say(child=child)
    say(status=os.waitpid(child, 0)[1])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What one child said: its steps, its version or its interruption, and how it ended (0 or minus a signal)."""

    steps: list[int]
    done: str | None
    interrupted: str | None
    ended: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Nursery:
    process: subprocess.Popen[str]

    def _hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the training process died"
        fields: dict[str, object] = json.loads(line)
        return fields

    def await_ready(self) -> None:
        assert self._hear() == {"ready": True}

    def run(self, name: str, *, kill_after_s: float | None = None, interrupt_at_step: int | None = None) -> Finished:
        """Train under `name` in a child, and send it SIGKILL after a time, or SIGINT after a step."""
        assert self.process.stdin is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        child = self._hear()["child"]
        assert isinstance(child, int)
        began = time.monotonic()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            _send(child, signal.SIGKILL)
        heard: dict[str, object] = {}
        steps: list[int] = []
        while "status" not in heard:
            fields = self._hear()
            heard |= fields
            if isinstance(step := fields.get("step"), int):
                steps.append(step)
                if step == interrupt_at_step:
                    _send(child, signal.SIGINT)
        status = heard["status"]
        assert isinstance(status, int)
        done, interrupted = heard.get("done"), heard.get("interrupted")
        assert done is None or isinstance(done, str)
        assert interrupted is None or isinstance(interrupted, str)
        return Finished(
            steps=steps,
            done=done,
            interrupted=interrupted,
            ended=os.waitstatus_to_exitcode(status),
            seconds=time.monotonic() - began,
        )


def _send(child: int, number: signal.Signals) -> None:
    # A child that has ended is reaped at once, so there may be nobody to receive the signal.
    with suppress(ProcessLookupError):
        os.kill(child, number)


@pytest.fixture
def nursery(tmp_path: Path, checkout: Path, wheel_bin: Path) -> Iterator[Nursery]:
    support = tmp_path / "tests" / "support"
    support.mkdir(parents=True)
    for name in ("tiny.py", "training.py"):
        shutil.copy(checkout / "tests" / "support" / name, support)
    process = subprocess.Popen(
        [wheel_bin / "python", "-c", NURSERY, tmp_path],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            started = Nursery(process=process)
            started.await_ready()
            yield started
        except BaseException:
            process.kill()
            raise


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = open_registry(tmp_path / "home")
    yield opened
    opened.close()


def check_whole(registry: Registry) -> None:
    """Every version that the registry shows has its bytes, and they are what its row and its manifest say."""
    for adapter in search.search_adapters(registry).items:
        for version in catalog.show(registry, adapter.name).versions:
            verify(registry.store, Blob(digest=version.weights_digest, size_bytes=version.size_bytes))
            assert version.manifest.weights.digest == version.weights_digest


@pytest.mark.timeout(900)
def test_killed_training_resumes_and_leaves_no_broken_version(nursery: Nursery, registry: Registry) -> None:
    whole = nursery.run("sw-whole")
    assert (whole.done, whole.ended) == ("sw-whole@1", 0)
    expected = catalog.show(registry, "sw-whole").versions[0].weights_digest
    seed = random.randrange(2**32)
    generator = random.Random(seed)
    attempt = killed = resumed_beyond_the_start = 0
    while killed < KILLS:
        attempt += 1
        name = f"sw-{attempt}"
        cut = nursery.run(name, kill_after_s=generator.uniform(0, whole.seconds))
        check_whole(registry)
        if cut.ended == 0:
            # It was done before the kill came: no fault to look at.
            continue
        assert cut.ended == -signal.SIGKILL
        finished = nursery.run(name)
        check_whole(registry)
        assert (finished.done, finished.ended) == (f"{name}@1", 0), f"seed {seed}"
        assert finished.steps == [] or finished.steps[-1] == 120
        assert finished.steps == list(range(121 - len(finished.steps), 121))
        assert catalog.show(registry, name).versions[0].weights_digest == expected, f"seed {seed}"
        resumed_beyond_the_start += len(finished.steps) < 120
        killed += 1
    assert resumed_beyond_the_start > 0, f"seed {seed}"


@pytest.mark.timeout(900)
def test_interrupted_training_says_how_to_go_on_and_does(nursery: Nursery, registry: Registry) -> None:
    cut = nursery.run("sw-cut", interrupt_at_step=20)
    assert cut.ended == 0
    assert cut.done is None
    assert cut.interrupted is not None
    assert "the same command goes on from there" in cut.interrupted
    assert cut.steps[-1] < 120
    assert search.search_adapters(registry).items == ()
    finished = nursery.run("sw-cut")
    assert finished.done == "sw-cut@1"
    assert finished.steps == list(range(cut.steps[-1] + 1, 121))
    whole = nursery.run("sw-whole")
    digests = {catalog.show(registry, name).versions[0].weights_digest for name in ("sw-cut", "sw-whole")}
    assert (whole.done, len(digests)) == ("sw-whole@1", 1)
