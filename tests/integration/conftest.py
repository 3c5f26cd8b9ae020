"""Runs `glossa` from the installed wheel, in a process of its own, outside the checkout, on an empty home."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def glossa_environment(tmp_path: Path) -> dict[str, str]:
    """The caller's environment without its Glossa settings, with a `GLOSSA_HOME` of this test's own."""
    ours = ("GLOSSA_", "DATABASE_URL", "PYTHONPATH", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {
        "GLOSSA_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def run_glossa(
    wheel_bin: Path, glossa_environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_glossa("data", "list", env={...}, timeout_s=60)`: the finished process, whatever its exit status."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, timeout_s: float = 240
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [wheel_bin / "glossa", *arguments],
            cwd=tmp_path,
            env=glossa_environment | dict(env or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run


@pytest.fixture
def start_glossa(
    wheel_bin: Path, glossa_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start_glossa("serve", "--port", "0", env={...})`: a running process, killed at the end if still there.

    Its stdout and stderr come together, as one stream of lines, from `process.stdout`.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [wheel_bin / "glossa", *arguments],
            cwd=tmp_path,
            env=glossa_environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
