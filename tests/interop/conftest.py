"""Fixtures of the oracle. Without `adapters` (outside `make interop`) nothing here is collected."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .oracle import Family, Oracle

collect_ignore_glob = [] if find_spec("adapters") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "interop" in item.path.parts:
            item.add_marker("interop")


@pytest.fixture(scope="session", params=["xlm-roberta", "bert"])
def family(request: pytest.FixtureRequest) -> "Family":
    name: Family = request.param
    return name


@pytest.fixture(scope="session")
def oracle(family: "Family", tmp_path_factory: pytest.TempPathFactory) -> "Oracle":
    """One per family: adapters of all tests lie side by side in it, as they do in a server."""
    from tests.interop.oracle import Oracle, write_backbone

    folder = tmp_path_factory.mktemp(family) / "backbone"
    return Oracle(write_backbone(folder, family), family)
