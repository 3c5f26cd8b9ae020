"""`POST /v1/adapters/{name}/versions`, by form and by upload: what is published, what is refused, what stays behind."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from madx.manifest import digest_of
from registry.models import Table, UploadRow
from tests.support import tiny
from tests.support.served import Home

Checkpoint = tuple[bytes, bytes]
ADDRESS = "/v1/adapters/yo/versions"


@pytest.fixture
def served(own_home: Home) -> Iterator[TestClient]:
    with own_home.client(max_upload_bytes=200_000) as client:
        yield client


@pytest.fixture(scope="session")
def yoruba(home: Home) -> Checkpoint:
    return tiny.language_checkpoint(home.loaded, "yo", seed=11)


def form(*fields: tuple[str, bytes], **headers: str) -> dict[str, Any]:
    """What httpx needs for a form of exactly these fields, in this order."""
    lines = b""
    for name, content in fields:
        lines += f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n'.encode()
        lines += content + b"\r\n"
    return {"content": lines + b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"} | headers}


def published(client: TestClient, checkpoint: Checkpoint, address: str = ADDRESS, **headers: str) -> Any:
    manifest, weights = checkpoint
    return client.post(address, **form(("manifest", manifest), ("weights", weights), **headers))


def uploaded(client: TestClient, content: bytes) -> str:
    upload = client.post("/v1/uploads").json()["id"]
    answer = client.put(
        f"/v1/uploads/{upload}?digest={digest_of(content)}",
        content=content,
        headers={"content-range": f"bytes 0-{len(content) - 1}/{len(content)}"},
    )
    assert answer.status_code == 201, answer.text
    return str(upload)


def rows(home: Home, *, without: tuple[str, ...] = ()) -> dict[str, int]:
    with home.registry() as registry, registry.database.reading() as session:
        tables = Table.metadata.tables.items()
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in tables
            if name not in without
        }


def files(home: Home) -> list[str]:
    blobs = home.folder / "blobs"
    return sorted(path.relative_to(blobs).as_posix() for path in blobs.rglob("*") if path.is_file())


def test_a_version_is_published_and_answers(served: TestClient, yoruba: Checkpoint, own_home: Home) -> None:
    manifest, weights = yoruba
    answer = published(served, yoruba)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "name": "yo",
        "version": 1,
        "digest": digest_of(manifest),
        "reference": "yo@1",
        "created": True,
    }
    assert answer.headers["location"] == "/v1/adapters/yo/versions/1"
    version = own_home.version("yo")
    assert version.manifest_bytes == manifest
    with own_home.registry() as registry, registry.store.open(version.weights_digest) as stream:
        assert stream.read(len(weights) + 1) == weights
    predicted = served.post("/v1/predict/ner?language=yo", json={"inputs": "Juma"})
    assert predicted.headers["x-glossa-language-adapter"] == "yo@1"


def test_the_same_again_is_the_same_version(served: TestClient, yoruba: Checkpoint) -> None:
    published(served, yoruba)
    again = published(served, yoruba)
    assert again.status_code == 200
    assert (again.json()["version"], again.json()["created"]) == (1, False)


def test_what_httpx_sends_is_understood(served: TestClient, yoruba: Checkpoint) -> None:
    manifest, weights = yoruba
    answer = served.post(ADDRESS, files={"manifest": manifest, "weights": ("adapter.safetensors", weights)})
    assert answer.status_code == 201, answer.text


def test_from_an_upload(served: TestClient, yoruba: Checkpoint, own_home: Home) -> None:
    manifest, weights = yoruba
    upload = uploaded(served, weights)
    fields = form(("manifest", manifest), ("upload", upload.encode()))
    answer = served.post(ADDRESS, **fields)
    assert answer.status_code == 201, answer.text
    assert rows(own_home)["uploads"] == 0
    assert not [name for name in files(own_home) if name.startswith("staging")]
    again = served.post(ADDRESS, **fields)  # whose answer was lost
    assert again.status_code == 200
    assert again.json()["reference"] == "yo@1"


def test_an_upload_that_is_refused_stays(served: TestClient, yoruba: Checkpoint, own_home: Home) -> None:
    manifest, weights = yoruba
    upload = uploaded(served, weights[:-1])
    answer = served.post(ADDRESS, **form(("manifest", manifest), ("upload", upload.encode())))
    assert (answer.status_code, answer.json()["code"]) == (422, "truncated")
    assert served.get(f"/v1/uploads/{upload}").json()["complete"]
    assert [name for name in files(own_home) if name.startswith("staging")] == [f"staging/uploads/{upload}"]


def test_an_upload_that_is_not_finished(served: TestClient, yoruba: Checkpoint) -> None:
    upload = served.post("/v1/uploads").json()["id"]
    answer = served.post(ADDRESS, **form(("manifest", yoruba[0]), ("upload", upload.encode())))
    assert (answer.status_code, answer.json()["code"]) == (409, "upload_incomplete")


@pytest.mark.parametrize("upload", [b"", b"0" * 32, b"../../registry.sqlite", b"\xff" * 8, b"0" * 1000])
def test_an_upload_that_is_none(served: TestClient, yoruba: Checkpoint, upload: bytes) -> None:
    answer = served.post(ADDRESS, **form(("manifest", yoruba[0]), ("upload", upload)))
    assert answer.json()["code"] in ("unknown_upload", "invalid")


M, W, U = ("manifest", b"{}"), ("weights", b"w"), ("upload", b"u")
GOOD = ("manifest", None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ((), "manifest"),
        ((W,), "manifest"),
        ((W, M), "manifest"),
        ((("other", b""), M), "other"),
        ((GOOD,), "weights"),
        ((GOOD, GOOD), "weights"),
        ((GOOD, W, W), "weights"),
        ((GOOD, W, U), "upload"),
        ((GOOD, U, W), "weights"),
        ((GOOD, W, ("other", b"")), "other"),
        ((GOOD, ("other", b""), W), "other"),
    ],
)
def test_fields_in_another_order(
    served: TestClient, yoruba: Checkpoint, own_home: Home, fields: tuple[Any, ...], field: str
) -> None:
    before = rows(own_home), files(own_home)
    whole = [
        (name, {"manifest": yoruba[0], "weights": yoruba[1]}.get(name, b"") if content in (None, b"w") else content)
        for name, content in fields
    ]
    answer = served.post(ADDRESS, **form(*whole))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid", field)
    assert (rows(own_home), files(own_home)) == before


def test_a_bad_manifest_is_refused_before_the_weights(served: TestClient, yoruba: Checkpoint) -> None:
    """Which do not even come."""
    content = (
        form(("manifest", b"{}"))["content"].removesuffix(b"--x--\r\n")
        + b'--x\r\nContent-Disposition: form-data; name="weights"\r\n\r\n'
    )
    answer = served.post(ADDRESS, content=content, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.json()["code"] == "invalid_manifest"


def test_a_manifest_that_is_too_long(served: TestClient, yoruba: Checkpoint, own_home: Home) -> None:
    with own_home.client() as client:
        answer = published(client, (b" " * ((1 << 20) + 1), yoruba[1]))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_manifest")


@pytest.mark.parametrize(("name", "status", "code"), [("Bad", 422, "invalid_name"), ("en", 409, "conflict")])
def test_a_name_that_cannot_be(served: TestClient, yoruba: Checkpoint, name: str, status: int, code: str) -> None:
    answer = published(served, yoruba, f"/v1/adapters/{name}/versions")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_unknown_backbone(served: TestClient, yoruba: Checkpoint) -> None:
    manifest = json.loads(yoruba[0])
    manifest["backbone"]["fingerprint"] = "0" * 64
    answer = published(served, (json.dumps(manifest).encode(), yoruba[1]))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_backbone")


def test_longer_than_a_server_takes(own_home: Home, yoruba: Checkpoint) -> None:
    before = rows(own_home), files(own_home)
    with own_home.client(max_upload_bytes=len(yoruba[1])) as client:
        announced = published(client, yoruba)

        def chunks() -> Iterator[bytes]:
            content = form(("manifest", yoruba[0]), ("weights", yoruba[1]))["content"]
            for start in range(0, len(content), 1000):
                yield content[start : start + 1000]

        headers = {"content-type": "multipart/form-data; boundary=x"}
        chunked = client.post(ADDRESS, content=chunks(), headers=headers)
    for answer in (announced, chunked):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert (rows(own_home), files(own_home)) == before


def test_other_weights_than_the_manifest_names(served: TestClient, yoruba: Checkpoint, own_home: Home) -> None:
    before = rows(own_home), files(own_home)
    manifest, weights = yoruba
    flipped = weights[:-1] + bytes([weights[-1] ^ 1])
    for other, code in ((weights + b"x", "digest_mismatch"), (weights[:-1], "truncated"), (flipped, "digest_mismatch")):
        answer = published(served, (manifest, other))
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (rows(own_home), files(own_home)) == before


class TestIdempotency:
    def test_the_first_answer_comes_again(self, served: TestClient, yoruba: Checkpoint) -> None:
        first = published(served, yoruba, **{"idempotency-key": "k 1"})
        again = published(served, yoruba, **{"idempotency-key": "k 1"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert first.headers["location"] == again.headers["location"]
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"

    def test_another_request_under_the_key(self, served: TestClient, yoruba: Checkpoint, home: Home) -> None:
        other = tiny.language_checkpoint(home.loaded, "yo", seed=12)
        published(served, yoruba, **{"idempotency-key": "k"})
        for address, checkpoint in ((ADDRESS, other), ("/v1/adapters/yo-2/versions", yoruba)):
            answer = published(served, checkpoint, address, **{"idempotency-key": "k"})
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")

    def test_a_refusal_is_not_kept(self, served: TestClient, yoruba: Checkpoint) -> None:
        manifest, weights = yoruba
        refused = published(served, (manifest, weights[:-1]), **{"idempotency-key": "k"})
        assert refused.status_code == 422
        assert published(served, yoruba, **{"idempotency-key": "k"}).status_code == 201

    def test_an_upload_is_begun_once(self, served: TestClient, own_home: Home) -> None:
        first, again = (
            served.post("/v1/uploads", json={"size_bytes": 5}, headers={"idempotency-key": "k"}) for _ in range(2)
        )
        assert first.json() == again.json()
        assert rows(own_home)["uploads"] == 1

    @pytest.mark.parametrize("key", ["", "x" * 201, "ä"])
    def test_what_is_no_key(self, served: TestClient, key: str) -> None:
        answer = served.post("/v1/uploads", headers={b"idempotency-key": key.encode("latin-1")})
        assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


class TestUploads:
    def test_from_begin_to_end(self, served: TestClient) -> None:
        begun = served.post("/v1/uploads", json={"size_bytes": 6})
        assert begun.status_code == 201
        address = begun.headers["location"]
        assert address == f"/v1/uploads/{begun.json()['id']}"
        first = served.patch(address, content=b"123", headers={"content-range": "bytes 0-2/6"})
        assert (first.status_code, first.json()["received_bytes"], first.headers["range"]) == (202, 3, "0-2")
        shown = served.get(address)
        assert (shown.json()["received_bytes"], shown.json()["complete"], shown.headers["range"]) == (3, False, "0-2")
        served.patch(address, content=b"456", headers={"content-range": "3-5"})
        done = served.put(f"{address}?digest=sha256:{digest_of(b'123456')}")
        assert (done.status_code, done.json()["complete"], done.json()["size_bytes"]) == (201, True, 6)
        assert done.json()["digest"] == digest_of(b"123456")
        assert served.delete(address).status_code == 204
        assert served.get(address).json()["code"] == "unknown_upload"

    @pytest.mark.parametrize("start", [0, 2, 4, 10**17])
    def test_out_of_order(self, served: TestClient, start: int) -> None:
        address = served.post("/v1/uploads").headers["location"]
        served.patch(address, content=b"123", headers={"content-range": "bytes 0-2/*"})
        answer = served.patch(address, content=b"4", headers={"content-range": f"bytes {start}-{start}/*"})
        assert (answer.status_code, answer.json()["code"]) == (416, "wrong_range")
        assert (answer.headers["range"], answer.json()["received_bytes"]) == ("0-2", 3)

    def test_out_of_order_at_the_beginning(self, served: TestClient) -> None:
        address = served.post("/v1/uploads").headers["location"]
        answer = served.patch(address, content=b"4", headers={"content-range": "bytes 1-1/*"})
        assert answer.json()["received_bytes"] == 0
        assert "range" not in answer.headers

    @pytest.mark.parametrize(
        "content_range",
        [
            "",
            "bytes",
            "bytes 0-/4",
            "bytes -3/4",
            "bytes 3-0/4",
            "bytes 0-3/3",
            "bytes 0-2/*",
            "0-99999999999999999999",
            "bytes 0-3/*, 4-5/*",
            "items 0-3/4",
            "bytes=0-3",
            "bytes */4",
            "bytes 0x0-0x3/4",
            "bytes ٠-٣/4".encode(),
            "bytes 0-3/4\x00",
        ],
    )
    def test_a_content_range_that_is_none(self, served: TestClient, content_range: str | bytes) -> None:
        encoded = content_range if isinstance(content_range, bytes) else content_range.encode()
        headers = {b"content-range": encoded}
        address = served.post("/v1/uploads").headers["location"]
        answer = served.patch(address, content=b"1234", headers=headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid", "Content-Range")
        assert served.get(address).json()["received_bytes"] == 0

    def test_without_a_content_range(self, served: TestClient) -> None:
        address = served.post("/v1/uploads").headers["location"]
        patched = served.patch(address, content=b"1234")
        put = served.put(f"{address}?digest={digest_of(b'1234')}", content=b"1234")
        for answer in (patched, put):
            assert (answer.status_code, answer.json()["field"]) == (422, "Content-Range")

    @pytest.mark.parametrize("chunks", [[b"12", b"3"], [b"12345"]])
    def test_chunked_bodies_of_another_length(self, served: TestClient, chunks: list[bytes]) -> None:
        address = served.post("/v1/uploads").headers["location"]
        answer = served.patch(address, content=iter(chunks), headers={"content-range": "bytes 0-3/*"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        received = served.get(address).json()["received_bytes"]
        assert received == (3 if len(chunks) == 2 else 0)

    def test_beyond_the_size(self, served: TestClient) -> None:
        assert served.post("/v1/uploads", json={"size_bytes": 200_001}).status_code == 413
        address = served.post("/v1/uploads", json={"size_bytes": 2}).headers["location"]
        answer = served.patch(address, content=b"123", headers={"content-range": "bytes 0-2/*"})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        huge = served.patch(address, content=bytes(200_001), headers={"content-range": "bytes 0-200000/*"})
        assert huge.status_code == 413

    def test_a_lying_digest(self, served: TestClient) -> None:
        address = served.post("/v1/uploads").headers["location"]
        served.patch(address, content=b"123", headers={"content-range": "bytes 0-2/*"})
        answer = served.put(f"{address}?digest={digest_of(b'124')}")
        assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
        assert served.get(address).json()["complete"] is False
        assert served.put(f"{address}?digest={digest_of(b'123')}").status_code == 201

    @pytest.mark.parametrize("digest", ["", "x" * 64, "0" * 63, "md5:" + "0" * 32, "A" * 64])
    def test_what_is_no_digest(self, served: TestClient, digest: str) -> None:
        address = served.post("/v1/uploads").headers["location"]
        answer = served.put(address, params={"digest": digest})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid", "digest")

    @pytest.mark.parametrize(
        "body", [b"[]", b"{", b'{"size_bytes": -1}', b'{"size_bytes": "1"}', b'{"other": 1}', b"\xff"]
    )
    def test_a_bad_beginning(self, served: TestClient, own_home: Home, body: bytes) -> None:
        answer = served.post("/v1/uploads", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert rows(own_home)["uploads"] == 0

    def test_so_many_for_one_key(self, own_home: Home) -> None:
        with own_home.client(uploads_per_key=2) as client:
            addresses = [client.post("/v1/uploads").headers["location"] for _ in range(2)]
            answer = client.post("/v1/uploads")
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
            assert int(answer.headers["retry-after"]) > 0
            client.delete(addresses[0])
            assert client.post("/v1/uploads").status_code == 201

    def test_it_outlives_the_server(self, own_home: Home, yoruba: Checkpoint) -> None:
        manifest, weights = yoruba
        half = len(weights) // 2
        with own_home.client() as client:
            address = client.post("/v1/uploads").headers["location"]
            client.patch(address, content=weights[:half], headers={"content-range": f"bytes 0-{half - 1}/*"})
        with own_home.client() as client:
            assert client.get(address).json()["received_bytes"] == half
            rest = {"content-range": f"bytes {half}-{len(weights) - 1}/{len(weights)}"}
            client.put(f"{address}?digest={digest_of(weights)}", content=weights[half:], headers=rest)
            upload = address.rpartition("/")[2].encode()
            assert client.post(ADDRESS, **form(("manifest", manifest), ("upload", upload))).status_code == 201

    def test_a_server_sweeps_what_has_expired(self, own_home: Home) -> None:
        with own_home.client(upload_ttl_s=0.001) as client:
            client.post("/v1/uploads")
        with own_home.client(), own_home.registry() as registry, registry.database.reading() as session:
            for _ in range(1000):
                if not session.scalar(select(func.count()).select_from(UploadRow)):
                    break
                session.rollback()
            else:
                pytest.fail("the upload is still there")
