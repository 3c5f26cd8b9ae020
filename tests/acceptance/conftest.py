"""Object stores that people run, started once each. Outside `make acceptance` nothing here is collected."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers.object_stores import ObjectServer
from tests.support.radosgw import radosgw
from tests.support.swift import swift

collect_ignore_glob = [] if "GLOSSA_SWIFT_PROGRAMS" in os.environ else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "acceptance" in item.path.parts:
            item.add_marker("acceptance")


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with swift(Path(os.environ["GLOSSA_SWIFT_PROGRAMS"]), tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="session")
def radosgw_server() -> Iterator[ObjectServer]:
    with radosgw() as server:
        yield server
