"""Many processes on one registry at once, and processes that are killed while they publish. They run the wheel."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry import aliases, catalog
from registry.errors import PreconditionFailed
from registry.registry import Registry, open_registry
from registry.stores import Blob
from registry.stores.base import verify
from tests.support.made_adapters import add_made_backbone, publish_made

pytestmark = pytest.mark.faults

PUBLISHER = """
import sys
from pathlib import Path
from registry.registry import open_registry
from made_adapters import add_made_backbone, publish_made

home, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
registry = open_registry(home)
add_made_backbone(registry)
for seed in range(first, first + count):
    print(publish_made(registry, "sw", seed=seed).number, flush=True)
"""


StartPublisher = Callable[[int, int], subprocess.Popen[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start_publisher(home: Path, tmp_path: Path, checkout: Path, wheel_bin: Path) -> StartPublisher:
    """`start_publisher(first_seed, count)`. It waits for a line before it opens the registry: many begin together."""
    shutil.copy(checkout / "tests" / "support" / "made_adapters.py", tmp_path)

    def start(first_seed: int, count: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [wheel_bin / "python", "-c", PUBLISHER, home, str(first_seed), str(count)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def assert_sound(registry: Registry, numbers: list[int]) -> None:
    versions = catalog.show(registry, "sw").versions
    assert [version.number for version in versions] == numbers
    for version in versions:
        verify(registry.store, Blob(digest=version.weights_digest, size_bytes=version.size_bytes))
    published = [event for event in catalog.events_after(registry, 0, limit=10_000) if event.subject.startswith("sw@")]
    assert [event.subject for event in published] == [f"sw@{number}" for number in numbers]


def test_eight_processes_start_on_an_empty_home_and_publish_to_one_name(
    home: Path, start_publisher: StartPublisher
) -> None:
    processes = [start_publisher(100 * index, 3) for index in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    numbers = sorted(int(line) for output in outputs for line in output.split())
    assert numbers == list(range(1, 25))
    registry = open_registry(home)
    assert_sound(registry, numbers)
    registry.close()


def test_eight_threads_publish_to_one_name(home: Path) -> None:
    registry = open_registry(home)
    add_made_backbone(registry)
    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(pool.map(lambda seed: publish_made(registry, "sw", seed=seed).number, range(24)))
    assert numbers == list(range(1, 25))
    assert_sound(registry, numbers)
    registry.close()


def test_eight_threads_publish_the_same_and_get_one_version(home: Path) -> None:
    registry = open_registry(home)
    add_made_backbone(registry)
    with ThreadPoolExecutor(8) as pool:
        numbers = set(pool.map(lambda _: publish_made(registry, "sw").number, range(16)))
    assert numbers == {1}
    assert_sound(registry, [1])
    registry.close()


def test_of_many_who_compare_and_set_one_wins(home: Path) -> None:
    registry = open_registry(home)
    add_made_backbone(registry)
    for seed in range(8):
        publish_made(registry, "sw", seed=seed)

    def move(number: int) -> bool:
        try:
            aliases.move_alias(registry, "sw", "production", number, expected=0)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(move, range(1, 9))) == 1
    assert len(aliases.alias_history(registry, "sw", "production")) == 1
    registry.close()


@pytest.mark.slow
def test_killed_publishers_never_leave_a_broken_version(home: Path, start_publisher: StartPublisher) -> None:
    """Killed at a random moment, ten times: every number that was answered is there, and every version is whole."""
    answered: list[int] = []
    for turn in range(10):
        process = start_publisher(1000 * turn, 1000)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        answered.append(int(process.stdout.readline()))
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        answered.extend(int(line) for line in process.communicate()[0].split())
    registry = open_registry(home)
    numbers = [version.number for version in catalog.show(registry, "sw").versions]
    assert numbers == list(range(1, len(numbers) + 1))
    assert set(answered) <= set(numbers)
    assert_sound(registry, numbers)
    assert publish_made(registry, "sw", seed=999_999).number == len(numbers) + 1
    registry.close()
