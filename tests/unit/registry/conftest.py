"""A registry of each test's own, with one tiny backbone in it, on SQLite and again on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.registry import Registry, open_registry
from tests.support.made_adapters import add_made_backbone


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that only this test uses."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/registry.sqlite"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def empty_registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    opened = open_registry(tmp_path / "home", database_url=database_url)
    yield opened
    opened.close()


@pytest.fixture
def registry(empty_registry: Registry) -> Registry:
    add_made_backbone(empty_registry)
    return empty_registry
