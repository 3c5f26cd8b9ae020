"""One home for all tests that only read it, and a client of an app that serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.support.served import Home, make_home


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("served"))


@pytest.fixture
def own_home(home: Home, tmp_path: Path) -> Home:
    """A copy that a test may change."""
    return home.copy(tmp_path / "home")


@pytest.fixture(scope="session")
def client(home: Home) -> Iterator[TestClient]:
    with home.client() as client:
        yield client
