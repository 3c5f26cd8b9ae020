"""Many processes that open one empty home at once: its tables are made once. They run the wheel."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import catalog
from registry.registry import Registry, open_registry
from registry.stores import Blob
from registry.stores.base import verify

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
