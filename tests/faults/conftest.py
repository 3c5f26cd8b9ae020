"""The two kinds of registry that faults are tried on: embedded, and on servers."""

from pathlib import Path

import pytest

from benchmarks.servers.object_stores import ObjectServer
from tests.support.places import Place


@pytest.fixture(params=["sqlite, local", "postgresql, s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    home = tmp_path / "home"
    if request.param == "sqlite, local":
        return Place(home=home)
    server: ObjectServer = request.getfixturevalue("object_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Place(home=home, database_url=request.getfixturevalue("postgres_url"), blob_url=server.fresh_url())
