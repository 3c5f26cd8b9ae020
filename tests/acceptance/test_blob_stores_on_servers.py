"""The blob store contract on servers that people run: Ceph's radosgw, and Swift with its S3 interface."""

from pathlib import Path

import pytest

from benchmarks.servers.object_stores import ObjectServer
from registry.stores import open_store
from tests.support.s3_contract import S3StoreContract


class SigningServerContract(S3StoreContract):
    """These check signatures, as the small server does not."""

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_wrong_credentials(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(name, "hidden")
        store = open_store(url, staging=tmp_path / "staging")
        self.assert_every_use_fails(store, "does not accept the credentials|denies access")
        store.close()


class TestRadosgw(SigningServerContract):
    @pytest.fixture
    def server(self, radosgw_server: ObjectServer) -> ObjectServer:
        return radosgw_server


class TestSwift(SigningServerContract):
    @pytest.fixture
    def server(self, swift_server: ObjectServer) -> ObjectServer:
        return swift_server
