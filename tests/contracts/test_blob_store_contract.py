"""Every blob store passes one contract: a local folder, its memory twin, and S3 on a small server."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers.object_stores import ObjectServer
from registry.errors import StoreUnavailable
from registry.stores import BlobStore
from registry.stores.local import LocalStore
from registry.stores.memory import MemoryStore
from tests.support.blob_store_contract import SOME_BYTES, BlobStoreContract
from tests.support.s3_contract import S3StoreContract


class TestLocalStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[BlobStore]:
        store = LocalStore(tmp_path / "blobs")
        yield store
        store.close()

    def test_a_listing_that_fails(self, store: BlobStore, tmp_path: Path) -> None:
        store.put(io.BytesIO(b"content"))
        (tmp_path / "blobs" / "ff").write_bytes(b"no folder")
        with pytest.raises(StoreUnavailable, match="cannot list"):
            list(store.list())

    def test_other_files_are_no_blobs(self, store: BlobStore, tmp_path: Path) -> None:
        blob = store.put(io.BytesIO(b"content"))
        for name in ("lost+found", "zz"):
            (tmp_path / "blobs" / name).mkdir()
            (tmp_path / "blobs" / name / blob.digest[2:]).write_bytes(b"")
        (tmp_path / "blobs" / blob.digest[:2] / "notes.txt").write_bytes(b"")
        assert list(store.list()) == [blob]

    def test_a_blob_that_shrinks_while_it_is_read(self, store: BlobStore, tmp_path: Path) -> None:
        content = SOME_BYTES * 10_000
        digest = store.put(io.BytesIO(content)).digest
        with store.open(digest) as stream:
            assert stream.read(1) == content[:1]
            (tmp_path / "blobs" / digest[:2] / digest[2:]).write_bytes(b"short")
            with pytest.raises(StoreUnavailable, match="bytes early"):
                stream.read()


class TestMemoryStore(BlobStoreContract):
    @pytest.fixture
    def store(self) -> Iterator[BlobStore]:
        store = MemoryStore()
        yield store
        store.close()


class TestS3StoreOnMinistack(S3StoreContract):
    @pytest.fixture
    def server(self, object_server: ObjectServer) -> ObjectServer:
        return object_server
