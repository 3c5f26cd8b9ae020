"""32 writers at once on PostgreSQL and stores that people run. Swift lets many win a conditional PUT; SQL decides."""

from pathlib import Path

import pytest

from benchmarks.servers.object_stores import ObjectServer
from tests.support.places import Place
from tests.support.race_contract import RegistryRaces


class RacesOnServer(RegistryRaces):
    """Who inherits it gives the fixture `server`."""

    @pytest.fixture
    def place(self, server: ObjectServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return Place(home=tmp_path / "home", database_url=postgres_url, blob_url=server.fresh_url())


class TestRadosgw(RacesOnServer):
    @pytest.fixture
    def server(self, radosgw_server: ObjectServer) -> ObjectServer:
        return radosgw_server


class TestSwift(RacesOnServer):
    @pytest.fixture
    def server(self, swift_server: ObjectServer) -> ObjectServer:
        return swift_server
