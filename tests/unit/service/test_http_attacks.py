"""Attacks through HTTP: the whole corpus by form, one of each code by upload, and bodies that are attacks themselves.

Each is refused with its own code, in bounded time, and leaves no row, no blob and no temporary file.
"""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from madx.manifest import digest_of
from registry.models import Table
from registry.registry import Registry
from registry.upload_file import UploadFile
from tests.support import tiny
from tests.support.attacks.attack import Attack, add_attacked_backbones
from tests.support.attacks.corpus import all_attacks
from tests.support.live import LiveServer, answer_of, serving
from tests.support.served import PATIENCE_S, Home

ATTACKS = all_attacks()
# What stands behind an upload is what stands behind a publish from a file, which the whole corpus attacks elsewhere.
ONE_OF_EACH_CODE = tuple({attack.code: attack for attack in ATTACKS}.values())
IDLE_S = 0.5
MOST_BYTES = 4 << 20
STEP_S = 0.02


@pytest.fixture(scope="module")
def attacked(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    copy = home.copy(tmp_path_factory.mktemp("attacked") / "home")
    with copy.registry() as registry:
        add_attacked_backbones(registry)
    return copy


@pytest.fixture(scope="module")
def live(attacked: Home) -> Iterator[LiveServer]:
    """Large enough for what the corpus holds."""
    with serving(attacked) as server:
        yield server


@pytest.fixture(scope="module")
def strict(attacked: Home) -> Iterator[LiveServer]:
    """One that takes little and waits for little."""
    with serving(attacked, max_upload_bytes=MOST_BYTES, upload_idle_s=IDLE_S, uploads_at_once=2) as server:
        yield server


@pytest.fixture(scope="module")
def client(live: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.address, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def registry(attacked: Home) -> Iterator[Registry]:
    with attacked.registry() as registry:
        yield registry


def rows(registry: Registry) -> dict[str, int]:
    with registry.database.reading() as session:
        tables = Table.metadata.tables.items()
        return {name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables}


def files(home: Home) -> list[str]:
    blobs = home.folder / "blobs"
    return sorted(path.relative_to(blobs).as_posix() for path in blobs.rglob("*") if path.is_file())


@pytest.fixture
def unchanged(attacked: Home, registry: Registry) -> Iterator[None]:
    """A client that left is noticed a moment later."""
    before = rows(registry), files(attacked)
    yield
    until_s = time.monotonic() + PATIENCE_S
    while (rows(registry), files(attacked)) != before and time.monotonic() < until_s:
        time.sleep(STEP_S)
    assert (rows(registry), files(attacked)) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("attack", ATTACKS, ids=[ascii(attack.name) for attack in ATTACKS])
def test_by_form(attack: Attack, client: httpx.Client) -> None:
    manifest, weights = attack.make()
    answer = client.post("/v1/adapters/attacked/versions", files={"manifest": manifest, "weights": weights})
    assert answer.json()["code"] == attack.streamed_code, answer.text[:500]
    assert 400 <= answer.status_code < 500


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("attack", ONE_OF_EACH_CODE, ids=[ascii(attack.name) for attack in ONE_OF_EACH_CODE])
def test_by_upload(attack: Attack, client: httpx.Client) -> None:
    manifest, weights = attack.make()
    address = f"/v1/uploads/{client.post('/v1/uploads').json()['id']}"
    if weights:
        headers = {"content-range": f"bytes 0-{len(weights) - 1}/*"}
        assert client.patch(address, content=weights, headers=headers).status_code == 202
    assert client.put(address, params={"digest": digest_of(weights)}).status_code == 201
    upload = address.rpartition("/")[2]
    answer = client.post(
        "/v1/adapters/attacked/versions", files={"manifest": manifest, "upload": (None, upload.encode())}
    )
    assert client.delete(address).status_code == 204, "a refused upload stays until it is given up"
    assert answer.json()["code"] == attack.code, answer.text[:500]
    assert 400 <= answer.status_code < 500


HEAD = b"POST /v1/adapters/attacked/versions HTTP/1.1\r\nHost: localhost\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="manifest"\r\n\r\n'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def endless(start: bytes, more: bytes) -> Iterator[bytes]:
    """For longer than the server may listen."""
    yield start
    for _ in range(16 * MOST_BYTES // len(more)):
        yield more


def flooded(server: LiveServer, parts: Iterator[bytes]) -> tuple[int, bytes]:
    """Send until the server has had enough, and read what it said."""
    with server.connect() as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass
        return answer_of(connection)


def code(body: bytes) -> str:
    return str(httpx.Response(200, content=body[: body.rfind(b"}") + 1]).json()["code"])


@pytest.mark.usefixtures("unchanged")
class TestBodies:
    def test_ten_gigabytes_are_refused_before_a_byte_of_them(self, strict: LiveServer) -> None:
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Content-Length: 10000000000\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            # A client that waits for nothing else gets its answer all the same.
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Content-Length: 10000000000\r\n\r\n")
            status, body = answer_of(connection)
        assert (status, code(body)) == (413, "too_large")

    def test_a_client_that_asks_first_is_not_told_to_go_on(self, strict: LiveServer) -> None:
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n")
            first = connection.recv(1 << 16)
        assert first.startswith(b"HTTP/1.1 413")

    def test_a_client_that_asks_first_may_send_what_is_allowed(self, strict: LiveServer) -> None:
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Expect: 100-continue\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 100")
            connection.sendall(b"--x--\r\n")
            status, body = answer_of(connection)
        assert (status, code(body)) == (422, "invalid")

    def test_ten_gigabytes_that_really_come(self, strict: LiveServer) -> None:
        start = HEAD + FORM + b"Content-Length: 10000000000\r\n\r\n"
        assert flooded(strict, endless(start, bytes(1 << 16)))[0] == 413

    @pytest.mark.parametrize(
        ("start", "more"),
        [
            (PART, b" " * 65_000),
            (PART[:-2], b"x" * 65_000),
            (PART[:-2] + b"X: ", b"x" * 65_000),
            (PART[:-2], b"X: y\r\n" * 10_000),
            (b"", b"--x\r\n\r\n\r\n" * 6_000),
            (b"", (PART + b"\r\n") * 1_000),
            (b"\r\n", b"\r\n" * 30_000),
            (b"--x--\r\n", b"--x\r\n" * 10_000),
            (b"", b"\0" * 65_000),
        ],
        ids=["manifest", "field", "header", "headers", "parts", "manifests", "preamble", "epilogue", "zeros"],
    )
    def test_chunks_without_end(self, strict: LiveServer, start: bytes, more: bytes) -> None:
        start = HEAD + FORM + CHUNKED + (chunk(start) if start else b"")
        status, body = flooded(strict, endless(start, chunk(more)))
        assert status in (413, 422), body[:300]

    def test_chunks_without_end_to_other_addresses(self, strict: LiveServer, attacked: Home) -> None:
        for request in (b"POST /v1/uploads", b"POST /v1/predict/ner"):
            start = request + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + CHUNKED
            status, body = flooded(strict, endless(start, chunk(b" " * 65_000)))
            assert (status, code(body)) == (413, "too_large")

    def test_an_upload_without_end(self, strict: LiveServer) -> None:
        with httpx.Client(base_url=strict.address) as client:
            address = client.post("/v1/uploads").headers["location"]
            start = f"PATCH {address} HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-999999999999/*\r\n".encode()
            status, body = flooded(strict, endless(start + CHUNKED, chunk(bytes(65_000))))
            assert (status, code(body)) == (413, "too_large")
            assert client.get(address).json()["received_bytes"] <= MOST_BYTES
            client.delete(address)

    def test_a_body_that_stops(self, strict: LiveServer) -> None:
        """The connection stays, but nothing comes any more."""
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Content-Length: 1000\r\n\r\n" + PART)
            status, body = answer_of(connection)
        assert (status, code(body)) == (408, "upload_idle")

    @pytest.mark.parametrize(
        "line",
        ["POST /v1/keys", "PUT /v1/adapters/sw/aliases/x", "PUT /v1/defaults/language/sw"],
    )
    def test_json_that_stops(self, strict: LiveServer, line: str) -> None:
        with strict.connect() as connection:
            connection.sendall(f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{".encode())
            status, body = answer_of(connection)
        assert (status, code(body)) == (408, "upload_idle")

    def test_a_client_that_leaves(self, strict: LiveServer, attacked: Home) -> None:
        manifest, weights = tiny.language_checkpoint(attacked.loaded, "yo", seed=21)
        body = PART + manifest + b'\r\n--x\r\nContent-Disposition: form-data; name="weights"\r\n\r\n' + weights
        with strict.connect() as connection:
            connection.sendall(HEAD + FORM + b"Content-Length: %d\r\n\r\n" % (len(body) + 9) + body)
            wait_for(lambda: any("staging" in name for name in files(attacked)))

    def test_what_came_of_an_upload_is_kept(self, strict: LiveServer) -> None:
        with httpx.Client(base_url=strict.address) as client:
            address = client.post("/v1/uploads").headers["location"]
            start = f"PATCH {address} HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-99999/*\r\n".encode()
            with strict.connect() as connection:
                connection.sendall(start + b"Content-Length: 100000\r\n\r\n" + b"x" * 50_000)
                status, body = answer_of(connection)
            assert (status, code(body)) == (408, "upload_idle")
            assert client.get(address).json()["received_bytes"] == 50_000
            client.delete(address)

    def test_two_at_once_on_one_upload(self, strict: LiveServer, attacked: Home) -> None:
        with httpx.Client(base_url=strict.address) as client:
            address = client.post("/v1/uploads").headers["location"]
            upload = attacked.folder / "blobs" / "staging" / "uploads" / address.rpartition("/")[2]
            with UploadFile.open(upload):
                piece: dict[str, Any] = {"content": b"1", "headers": {"content-range": "bytes 0-0/*"}}
                for answer in (client.patch(address, **piece), client.delete(address)):
                    assert (answer.status_code, answer.json()["code"]) == (409, "upload_busy")
            assert client.patch(address, **piece).status_code == 202
            client.delete(address)

    def test_so_many_at_once(self, strict: LiveServer) -> None:
        held = [strict.connect() for _ in range(2)]
        try:
            for connection in held:
                connection.sendall(HEAD + FORM + b"Content-Length: 1000\r\n\r\n" + PART)
            with httpx.Client(base_url=strict.address) as client:
                content: dict[str, Any] = {
                    "content": b"--x--\r\n",
                    "headers": {"content-type": "multipart/form-data; boundary=x"},
                }
                wait_for(lambda: client.post("/v1/adapters/a/versions", **content).status_code == 429)
                answer = client.post("/v1/adapters/a/versions", **content)
                assert (answer.json()["code"], answer.headers["retry-after"]) == ("too_many_uploads", "5")
                predicted = client.post("/v1/predict/ner?language=sw", json={"inputs": "Juma"}, timeout=PATIENCE_S)
                assert predicted.status_code == 200
                for connection in held:
                    answer_of(connection)
                wait_for(lambda: client.post("/v1/adapters/a/versions", **content).status_code == 422)
        finally:
            for connection in held:
                connection.close()

    def test_headers_without_end(self, strict: LiveServer) -> None:
        for more in (b"X-Long: " + b"x" * 60_000 + b"\r\n", b"X: y\r\n" * 10_000, b"x" * 60_000):
            assert flooded(strict, endless(HEAD, more))[0] == 400

    def test_a_length_that_is_none(self, strict: LiveServer) -> None:
        for length in (b"-1", b"1e3", b"", b"0x10", b"9" * 30, b"5\r\nContent-Length: 6"):
            with strict.connect() as connection:
                connection.sendall(HEAD + FORM + b"Content-Length: " + length + b"\r\n\r\n")
                assert answer_of(connection)[0] in (400, 413)


def wait_for(there: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < until_s
        time.sleep(STEP_S)


def test_shutting_down_ends_uploads_that_wait(attacked: Home) -> None:
    with serving(attacked, upload_idle_s=3600.0) as server, ThreadPoolExecutor(1) as pool:
        connection = server.connect()
        connection.sendall(HEAD + FORM + b"Content-Length: 1000\r\n\r\n" + PART)
        wait_for(lambda: server.app.state.server.intake.running == 1)
        answered = pool.submit(answer_of, connection)
        server.stop()
        status, body = answered.result(PATIENCE_S)
        connection.close()
    assert (status, code(body)) == (503, "draining")
