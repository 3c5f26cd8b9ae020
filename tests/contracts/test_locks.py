"""The locks name versions alone, so that any index and any platform can serve them."""

import re
from pathlib import Path

import pytest

PINNED = re.compile(r"^[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*$")


@pytest.fixture(params=["requirements.lock", "requirements-interop.lock", "requirements-swift.lock"])
def locked(request: pytest.FixtureRequest, checkout: Path) -> list[str]:
    lines = (checkout / request.param).read_text("utf-8").splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def test_every_line_is_a_version_and_nothing_else(locked: list[str]) -> None:
    assert [line for line in locked if not PINNED.match(line)] == []


def test_no_cuda_package_is_locked(locked: list[str]) -> None:
    assert [line for line in locked if line.startswith(("nvidia-", "cuda-", "triton"))] == []


def test_both_locks_take_the_same_torch(checkout: Path) -> None:
    torches = {
        re.search(r"^torch==(\S+)", (checkout / name).read_text("utf-8"), flags=re.MULTILINE)[1]  # type: ignore[index]
        for name in ("requirements.lock", "requirements-interop.lock")
    }
    assert len(torches) == 1
