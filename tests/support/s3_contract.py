"""What the S3 store does on top of the blob store contract, on every server that it is held against."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import pytest

from benchmarks.servers.object_stores import REGION, ObjectServer, free_port
from registry.errors import StoreUnavailable
from registry.stores import BlobStore, open_store
from registry.stores.base import verify
from tests.support.blob_store_contract import PART_BYTES, SOME_BYTES, BlobStoreContract, digest_of, read, soon
from tests.support.breaking_proxy import BreakingProxy, breaking_proxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LARGE = SOME_BYTES * (3 * PART_BYTES // len(SOME_BYTES))
EARLY = datetime.fromtimestamp(0, UTC)


class S3StoreContract(BlobStoreContract):
    @pytest.fixture
    def server(self) -> ObjectServer:
        raise NotImplementedError

    @pytest.fixture
    def url(self, server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
        """Of an empty store; the environment is the server's."""
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return server.fresh_url()

    @pytest.fixture
    def store(self, url: str, tmp_path: Path) -> Iterator[BlobStore]:
        store = open_store(url, staging=tmp_path / "staging")
        yield store
        store.close()

    @pytest.fixture
    def client(self, server: ObjectServer, url: str) -> "Iterator[S3Client]":
        client = boto3.session.Session(region_name=REGION).client("s3")
        yield client
        client.close()

    @pytest.fixture
    def proxy(self, server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BreakingProxy]:
        with breaking_proxy(server.endpoint) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            yield proxy

    @pytest.fixture
    def broken_store(
        self, proxy: BreakingProxy, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[BlobStore]:
        """The same store through `proxy`; it tries once."""
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        store = open_store(url, staging=tmp_path / "staging")
        yield store
        store.close()

    def test_keys_sort_as_digests_do(
        self, store: BlobStore, url: str, server: ObjectServer, client: "S3Client"
    ) -> None:
        digest = store.put(io.BytesIO(b"content")).digest
        prefix = urlsplit(url).path.strip("/")
        (entry,) = client.list_objects_v2(Bucket=server.bucket, Prefix=prefix)["Contents"]
        assert entry["Key"] == f"{prefix}/{digest[:2]}/{digest[2:]}"

    def test_a_prefix_may_be_left_out(self, url: str, client: "S3Client", tmp_path: Path) -> None:
        bucket = f"glossa-{url[-16:]}"
        client.create_bucket(Bucket=bucket)
        store = open_store(f"s3://{bucket}", staging=tmp_path / "staging")
        blob = store.put(io.BytesIO(b"content"))
        assert list(store.list()) == [blob]
        store.close()

    def test_lists_more_than_a_page(self, store: BlobStore, url: str, server: ObjectServer, client: "S3Client") -> None:
        prefix = urlsplit(url).path.strip("/")
        digests = sorted(digest_of(str(number).encode()) for number in range(1003))

        def write(key: str) -> None:
            client.put_object(Bucket=server.bucket, Key=key, Body=b"x")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(write, [f"{prefix}/{digest[:2]}/{digest[2:]}" for digest in digests]))
        write(f"{prefix}/notes.txt")
        write(f"{prefix}-of-another/{digests[0][:2]}/{digests[0][2:]}")
        assert [blob.digest for blob in store.list()] == digests

    def test_incomplete_uploads_are_left_over(
        self, store: BlobStore, url: str, server: ObjectServer, client: "S3Client"
    ) -> None:
        digest = digest_of(b"never finished")
        prefix = urlsplit(url).path.strip("/")
        key = f"{prefix}/{digest[:2]}/{digest[2:]}"
        for name in (key, f"{prefix}/notes.txt", f"{prefix}-of-another/{digest[:2]}/{digest[2:]}"):
            upload_id = client.create_multipart_upload(Bucket=server.bucket, Key=name)["UploadId"]
            client.upload_part(Bucket=server.bucket, Key=name, UploadId=upload_id, PartNumber=1, Body=b"some bytes")
        assert list(store.leftovers(datetime.now(UTC) - timedelta(hours=1))) == []
        (leftover,) = store.leftovers(soon())
        assert (leftover.name, leftover.size_bytes) == (key, 10)
        assert leftover.upload_id is not None
        assert list(store.list()) == []
        store.remove_leftover(leftover)
        store.remove_leftover(leftover)
        assert list(store.leftovers(soon())) == []

    def test_a_server_that_dies_while_a_blob_is_read(self, broken_store: BlobStore, proxy: BreakingProxy) -> None:
        blob = broken_store.put(io.BytesIO(LARGE))
        proxy.break_after(received=PART_BYTES)
        with broken_store.open(blob.digest) as stream:
            assert stream.read(1000) == LARGE[:1000]
            with pytest.raises(StoreUnavailable, match="broke off"):
                stream.read()

    def test_a_listing_that_breaks_off(self, store: BlobStore, broken_store: BlobStore, proxy: BreakingProxy) -> None:
        for number in range(20):
            store.put(io.BytesIO(str(number).encode()))
        proxy.break_after(received=1000)
        with pytest.raises(StoreUnavailable):
            list(broken_store.list())
        with pytest.raises(StoreUnavailable):
            list(broken_store.leftovers(soon()))

    def test_an_upload_that_breaks_is_aborted(
        self, store: BlobStore, broken_store: BlobStore, proxy: BreakingProxy
    ) -> None:
        staged = broken_store.stage(io.BytesIO(LARGE))
        proxy.break_after(sent=PART_BYTES + PART_BYTES // 2, once=True)
        with pytest.raises(StoreUnavailable, match="cannot reach"):
            broken_store.commit(staged)
        assert not store.exists(staged.blob.digest)
        assert [leftover.name for leftover in store.leftovers(soon())] == [str(staged.path)]
        broken_store.commit(staged)
        verify(store, staged.blob)

    def test_an_upload_to_a_server_that_dies(
        self, store: BlobStore, broken_store: BlobStore, proxy: BreakingProxy
    ) -> None:
        staged = broken_store.stage(io.BytesIO(LARGE))
        proxy.break_after(sent=PART_BYTES + PART_BYTES // 2)
        with pytest.raises(StoreUnavailable, match="cannot reach"):
            broken_store.commit(staged)
        broken_store.discard(staged)
        assert not store.exists(staged.blob.digest)
        (leftover,) = store.leftovers(soon())
        assert leftover.upload_id is not None
        store.remove_leftover(leftover)
        assert list(store.leftovers(soon())) == []

    def test_a_lost_connection_is_tried_again(self, proxy: BreakingProxy, url: str, tmp_path: Path) -> None:
        store = open_store(url, staging=tmp_path / "staging")
        staged = store.stage(io.BytesIO(LARGE))
        proxy.break_after(sent=PART_BYTES + PART_BYTES // 2, once=True)
        store.commit(staged)
        proxy.break_after(received=0, once=True)
        assert store.size(staged.blob.digest) == len(LARGE)
        verify(store, staged.blob)
        store.close()

    def test_a_server_that_is_not_there(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:hidden@127.0.0.1:{free_port()}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        store = open_store(url, staging=tmp_path / "staging")
        self.assert_every_use_fails(store, r"cannot reach bucket '[a-z]+' at http://127.0.0.1:[0-9]+ ")
        store.close()

    def test_a_bucket_that_is_not_there(self, url: str, tmp_path: Path) -> None:
        store = open_store("s3://no-such-bucket/prefix", staging=tmp_path / "staging")
        self.assert_every_use_fails(store, "bucket 'no-such-bucket' at http://.* does not exist; create it")
        store.close()

    def assert_every_use_fails(self, store: BlobStore, message: str) -> None:
        digest = digest_of(b"content")
        staged = store.stage(io.BytesIO(b"content"))
        uses = (
            lambda: store.commit(staged),
            lambda: read(store, digest),
            lambda: read(store, digest, start=3),
            lambda: store.size(digest),
            lambda: store.exists(digest),
            lambda: list(store.list()),
            lambda: store.delete(digest),
            lambda: list(store.leftovers(EARLY)),
        )
        for use in uses:
            with pytest.raises(StoreUnavailable, match=message) as raised:
                use()
            assert "hidden" not in str(raised.value)
        assert staged.path.exists()
        store.discard(staged)
