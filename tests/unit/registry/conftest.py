"""A registry of each test's own, with one tiny backbone in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.registry import Registry, open_registry
from tests.support.made_adapters import add_made_backbone


@pytest.fixture
def empty_registry(tmp_path: Path) -> Iterator[Registry]:
    opened = open_registry(tmp_path / "home")
    yield opened
    opened.close()


@pytest.fixture
def registry(empty_registry: Registry) -> Registry:
    add_made_backbone(empty_registry)
    return empty_registry
