"""Downloads: whole, in parts, not at all where the reader has them; and what a store does wrong meanwhile."""

import asyncio
import hashlib
import io
import os
import threading
from contextlib import closing
from datetime import timedelta
from typing import Any, BinaryIO

import httpx
import pytest
from starlette.concurrency import run_in_threadpool
from starlette.testclient import TestClient

from madx.manifest import Digest
from registry.collect import collect
from registry.errors import BlobCorrupt, StoreUnavailable, UnknownBlob
from registry.stores.memory import MemoryStore
from registry.values import Version
from service.conditions import Part
from service.downloads import Downloads
from tests.support.ageing import let_pass
from tests.support.live import serving
from tests.support.served import PATIENCE_S, Home

ADDRESS = "/v1/adapters/ner/versions/1/weights"


@pytest.fixture(scope="module")
def ner(home: Home) -> Version:
    return home.version("ner")


@pytest.fixture(scope="module")
def content(home: Home, ner: Version) -> bytes:
    with home.registry() as registry, registry.store.open(ner.weights_digest) as stream:
        return stream.read()


def test_the_whole_file(client: TestClient, ner: Version, content: bytes) -> None:
    answer = client.get(ADDRESS)
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["content-disposition"] == 'attachment; filename="ner-1.safetensors"'
    assert "content-range" not in answer.headers


def test_its_head(client: TestClient, content: bytes) -> None:
    head, get = client.head(ADDRESS), client.get(ADDRESS)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "accept-ranges", "cache-control", "content-disposition"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("header", "start", "stop"), [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None)]
)
def test_a_part(client: TestClient, content: bytes, header: str, start: int, stop: int | None) -> None:
    answer = client.get(ADDRESS, headers={"range": header})
    expected = content[start:stop]
    assert (answer.status_code, answer.content) == (206, expected)
    first = content.index(expected) if stop is None else start
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(len(expected))


def test_a_download_goes_on_where_it_was(client: TestClient, content: bytes) -> None:
    tag = client.head(ADDRESS).headers["etag"]
    rest = client.get(ADDRESS, headers={"range": "bytes=1000-", "if-range": tag})
    assert (rest.status_code, content[:1000] + rest.content) == (206, content)
    other = client.get(ADDRESS, headers={"range": "bytes=1000-", "if-range": f'"{"0" * 64}"'})
    assert (other.status_code, other.content) == (200, content)


def test_a_part_outside(client: TestClient, content: bytes) -> None:
    refused = client.get(ADDRESS, headers={"range": f"bytes={len(content)}-"})
    assert (refused.status_code, refused.json()["code"]) == (416, "wrong_range")
    assert refused.headers["content-range"] == f"bytes */{len(content)}"


def test_what_the_reader_has_is_not_sent(client: TestClient, ner: Version) -> None:
    for header in (f'"{ner.weights_digest}"', f'W/"{ner.weights_digest}"', "*", f'"x", "{ner.weights_digest}"'):
        answer = client.get(ADDRESS, headers={"if-none-match": header, "range": "bytes=0-9"})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{ner.weights_digest}"'
    assert client.get(ADDRESS, headers={"if-none-match": '"x"'}).status_code == 200


def test_the_manifest_byte_for_byte(client: TestClient, ner: Version) -> None:
    address = "/v1/adapters/ner/versions/1/manifest"
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, ner.manifest_bytes)
    assert answer.headers["etag"] == f'"{ner.manifest_digest}"'
    assert "immutable" in answer.headers["cache-control"]
    again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_deleted_version_is_there_until_it_is_collected(own_home: Home, content: bytes) -> None:
    with own_home.client() as client:
        assert client.delete("/v1/adapters/ner/versions/1").status_code == 204
        assert client.get(ADDRESS).content == content
        with own_home.registry() as registry:
            let_pass(registry, timedelta(days=2))
            collect(registry, grace=timedelta(days=1), delete=True)
        for method in ("GET", "HEAD"):
            assert client.request(method, ADDRESS).status_code == 410
        assert client.get(ADDRESS).json()["code"] == "weights_collected"
        refused = client.post("/v1/adapters/ner/versions/1/restore")
        assert (refused.status_code, refused.json()["code"]) == (410, "weights_collected")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nobody/versions/1", "unknown_adapter"),
        ("ner/versions/9", "unknown_version"),
    ],
)
@pytest.mark.parametrize("what", ["weights", "manifest", "lineage"])
def test_what_is_not_there(client: TestClient, path: str, what: str, code: str) -> None:
    answer = client.get(f"/v1/adapters/{path}/{what}")
    assert (answer.status_code, answer.json()["code"]) == (404, code)


def blob_of(home: Home, version: Version) -> Any:
    return home.folder / "blobs" / version.weights_digest[:2] / version.weights_digest[2:]


def test_weights_that_the_store_has_lost(own_home: Home, ner: Version) -> None:
    blob_of(own_home, ner).unlink()
    with own_home.client() as client:
        answer = client.get(ADDRESS)
        assert (answer.status_code, answer.json()["code"]) == (503, "unknown_blob")
        assert client.head(ADDRESS).status_code == 200  # the row still knows


def test_a_blob_that_has_become_shorter(own_home: Home, ner: Version, content: bytes) -> None:
    os.truncate(blob_of(own_home, ner), 1000)
    with serving(own_home) as server, httpx.Client(base_url=server.address, trust_env=False) as client:
        refused = client.get(ADDRESS, headers={"range": "bytes=2000-"})
        assert (refused.status_code, refused.json()["code"]) == (503, "blob_corrupt")
        received: list[bytes] = []
        with client.stream("GET", ADDRESS) as answer:
            assert answer.headers["content-length"] == str(len(content))
            with pytest.raises(httpx.RemoteProtocolError):
                received.extend(answer.iter_raw())
        assert b"".join(received) == content[: sum(map(len, received))]
        assert client.get("/v1/tasks").status_code == 200


class SlowStore(MemoryStore):
    """Opens nothing until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open = threading.Event()

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        assert self.may_open.wait(PATIENCE_S)
        return super().open(digest, start=start, length=length)


def whole(size_bytes: int) -> Part:
    return Part(start=0, length=size_bytes, is_whole=True)


def test_a_slow_store_holds_up_downloads_alone() -> None:
    async def run(store: SlowStore) -> list[int]:
        downloads = Downloads()
        blob = store.put(io.BytesIO(b"weights"))
        part = whole(blob.size_bytes)
        waiting = [asyncio.create_task(downloads.answer(store, blob.digest, part, headers={})) for _ in range(60)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(run_in_threadpool(lambda: "resolved"), PATIENCE_S) == "resolved"
        assert not any(task.done() for task in waiting)
        store.may_open.set()
        return [answer.status_code for answer in await asyncio.gather(*waiting)]

    with closing(SlowStore()) as store:
        assert asyncio.run(run(store)) == [200] * 60


def test_pieces_are_small_and_the_stream_is_closed_whatever_happens() -> None:
    content = os.urandom(1 << 20)
    opened: list[BinaryIO] = []

    class Watched(MemoryStore):
        def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
            opened.append(super().open(digest, start=start, length=length))
            return opened[-1]

    sent: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(PATIENCE_S)
        raise AssertionError("nobody reads what the client sends")

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def broken(_message: Any) -> None:
        raise OSError("the client has left")

    async def run(store: Watched) -> None:
        downloads = Downloads()
        blob = store.put(io.BytesIO(content))
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        answer = await downloads.answer(store, blob.digest, whole(blob.size_bytes), headers={})
        await answer(scope, receive, send)
        answer = await downloads.answer(store, blob.digest, whole(blob.size_bytes), headers={})
        with pytest.raises(Exception, match=r"^$|left"):
            await answer(scope, receive, broken)

    with closing(Watched()) as store:
        asyncio.run(run(store))
    assert b"".join(sent) == content
    assert max(map(len, sent)) <= 1 << 18
    assert [stream.closed for stream in opened] == [True, True]


@pytest.mark.parametrize("error", [StoreUnavailable("the store is away"), UnknownBlob("gone")])
def test_what_a_store_raises_comes_before_the_first_byte(error: Exception) -> None:
    class Away(MemoryStore):
        def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
            raise error

    with closing(Away()) as store, pytest.raises(type(error)):
        asyncio.run(Downloads().answer(store, Digest("a" * 64), whole(1), headers={}))


def test_a_range_beyond_a_damaged_blob() -> None:
    with closing(MemoryStore()) as store:
        blob = store.put(io.BytesIO(b"short"))
        answer = Downloads().answer(store, blob.digest, Part(start=9, length=1, is_whole=False), headers={})
        with pytest.raises(BlobCorrupt):
            asyncio.run(answer)
