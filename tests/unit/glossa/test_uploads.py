"""Publishing through the client on a real server: small and large, lost connections, restarts, refusals."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from glossa import Client, ClientError
from glossa.connection import Json
from glossa.patience import Patience
from glossa.upload_memory import FileUploadMemory
from glossa.uploads_client import UploadsClient
from madx.errors import InvalidWeights
from madx.manifest import from_bytes
from registry import catalog
from registry.references import AdapterRef
from registry.values import Upload
from tests.support.listening import Listener, listening
from tests.support.served import Home, make_home
from tests.support.tiny import language_checkpoint

PIECE_BYTES = 4096
Breaking = Callable[[httpx.Request], None]


class Door(httpx.HTTPTransport):
    """A real connection that a test can break before or after a request, and that counts requests by method."""

    def __init__(self) -> None:
        super().__init__()
        self.methods: list[str] = []
        self.before: Breaking | None = None
        self.after: Breaking | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.methods.append(request.method)
        if self.before is not None:
            self.before(request)
        response = super().handle_request(request)
        if self.after is not None:
            response.read()
            self.after(request)
        return response


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("served"))


@pytest.fixture
def home(made: Home, tmp_path: Path) -> Home:
    return made.copy(tmp_path / "home")


@pytest.fixture
def server(home: Home) -> Iterator[Listener]:
    with listening(home.settings()) as listener:
        yield listener


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def client(server: Listener, door: Door) -> Iterator[Client]:
    with Client(server.address, transport=door) as opened:
        opened.uploads = UploadsClient(opened.connection, resumable_bytes=0, piece_bytes=PIECE_BYTES)
        yield opened


@pytest.fixture
def content(home: Home, tmp_path: Path) -> tuple[bytes, Path]:
    manifest, weights = language_checkpoint(home.loaded, "ha", seed=11)
    path = tmp_path / "weights"
    path.write_bytes(weights)
    return manifest, path


@pytest.fixture
def memory(tmp_path: Path) -> FileUploadMemory:
    return FileUploadMemory(folder=tmp_path / "remembered")


def quickly() -> Patience:
    return Patience(sleep=lambda _seconds: None)


def weights_of(home: Home, name: str) -> bytes:
    with home.registry() as registry:
        version = catalog.resolve(registry, AdapterRef(name=name))
        with registry.store.open(version.weights_digest) as stream:
            return stream.read()


def open_uploads(home: Home) -> tuple[Upload, ...]:
    from datetime import UTC, datetime, timedelta

    from registry.uploads import expired_uploads

    with home.registry() as registry:
        return expired_uploads(registry, datetime.now(UTC) + timedelta(days=365))


def test_a_small_version_goes_in_one_request(server: Listener, home: Home, content: tuple[bytes, Path]) -> None:
    door = Door()
    with Client(server.address, transport=door) as client:
        first = client.uploads.publish("ha", *content)
        again = client.uploads.publish("ha", *content)
    assert (first["reference"], first["created"], again["created"]) == ("ha@1", True, False)
    assert door.methods == ["POST", "POST"]
    assert weights_of(home, "ha") == content[1].read_bytes()


def test_a_large_version_goes_piece_by_piece(
    client: Client, home: Home, door: Door, content: tuple[bytes, Path], memory: FileUploadMemory
) -> None:
    size_bytes = content[1].stat().st_size
    told: list[int] = []
    done = client.uploads.publish("ha", *content, on_progress=told.append, memory=memory)
    assert (done["reference"], done["created"]) == ("ha@1", True)
    assert door.methods.count("PATCH") == -(-size_bytes // PIECE_BYTES) > 2
    assert told[0] == 0
    assert told[-1] == size_bytes
    assert weights_of(home, "ha") == content[1].read_bytes()
    assert list(memory.folder.iterdir()) == []
    assert open_uploads(home) == ()


def test_what_is_there_already_costs_no_upload(client: Client, door: Door, content: tuple[bytes, Path]) -> None:
    client.uploads.publish("ha", *content)
    door.methods.clear()
    done = client.uploads.publish("ha", *content)
    assert (done["reference"], done["created"]) == ("ha@1", False)
    assert door.methods == ["POST"]


def test_lost_connections_and_lost_answers_are_gone_on_from(
    client: Client, home: Home, door: Door, content: tuple[bytes, Path]
) -> None:
    """Every request's answer is lost once."""
    lost: set[tuple[str, str, str]] = set()

    def lose(request: httpx.Request) -> None:
        what = (request.method, request.url.path, request.headers.get("content-range", ""))
        if what not in lost:
            lost.add(what)
            raise httpx.ReadError("connection lost")

    door.after = lose
    done = client.uploads.publish("ha", *content, patience=quickly())
    assert done["reference"] == "ha@1"
    assert weights_of(home, "ha") == content[1].read_bytes()
    assert len(lost) > 5


def test_a_server_that_is_restarted_has_what_it_had(
    client: Client, server: Listener, home: Home, door: Door, content: tuple[bytes, Path]
) -> None:
    pieces: list[str] = []

    def restart(request: httpx.Request) -> None:
        if request.method == "PATCH":
            pieces.append(request.headers["content-range"])
            if len(pieces) == 3:
                server.stop()

    def come_back(_seconds: float) -> None:
        server.start()

    door.before = restart
    done = client.uploads.publish("ha", *content, patience=Patience(sleep=come_back))
    assert done["reference"] == "ha@1"
    assert weights_of(home, "ha") == content[1].read_bytes()
    assert len(set(pieces)) == len(pieces) - 1


def test_an_interrupted_push_goes_on_in_another_process(
    server: Listener, home: Home, content: tuple[bytes, Path], memory: FileUploadMemory
) -> None:
    def publish(door: Door) -> dict[str, Json]:
        with Client(server.address, transport=door) as client:
            uploads = UploadsClient(client.connection, resumable_bytes=0, piece_bytes=PIECE_BYTES)
            return uploads.publish("ha", *content, memory=memory)

    first, second = Door(), Door()

    def stop(_request: httpx.Request) -> None:
        if first.methods.count("PATCH") == 2:
            raise KeyboardInterrupt

    first.after = stop
    with pytest.raises(KeyboardInterrupt):
        publish(first)
    assert publish(second)["reference"] == "ha@1"
    pieces = -(-content[1].stat().st_size // PIECE_BYTES)
    assert second.methods.count("PATCH") == pieces - 2
    assert open_uploads(home) == ()


def test_an_upload_that_the_server_lost_begins_anew(
    client: Client, home: Home, door: Door, content: tuple[bytes, Path], memory: FileUploadMemory
) -> None:
    from registry.uploads import cancel_upload

    def cancel(_request: httpx.Request) -> None:
        if door.methods.count("PATCH") == 2:
            door.before = None
            (upload,) = open_uploads(home)
            with home.registry() as registry:
                cancel_upload(registry, upload.id, actor="anonymous")

    door.before = cancel
    done = client.uploads.publish("ha", *content, memory=memory, patience=quickly())
    assert done["reference"] == "ha@1"
    assert weights_of(home, "ha") == content[1].read_bytes()


def test_a_refusal_comes_before_the_weights_are_sent(client: Client, door: Door, content: tuple[bytes, Path]) -> None:
    with pytest.raises(ClientError, match="publish it under another name") as caught:
        client.uploads.publish("en", *content)
    assert (caught.value.code, caught.value.status) == ("conflict", 409)
    assert door.methods == ["POST"]


def test_a_refusal_after_the_weights_leaves_nothing(
    client: Client, home: Home, content: tuple[bytes, Path], memory: FileUploadMemory
) -> None:
    manifest, path = content
    weights = bytearray(path.read_bytes())
    weights[-4:] = b"\x00\x00\xc0\x7f"  # NaN
    path.write_bytes(weights)
    old = from_bytes(manifest).weights.digest
    import hashlib

    manifest = manifest.replace(old.encode(), hashlib.sha256(weights).hexdigest().encode())
    with pytest.raises(ClientError) as caught:
        client.uploads.publish("ha", manifest, path, memory=memory)
    assert caught.value.code == "not_finite"
    assert open_uploads(home) == ()
    assert list(memory.folder.iterdir()) == []


@pytest.mark.parametrize("wrong", [b"shorter", None])
def test_other_weights_than_the_manifest_names_are_refused_at_home(
    client: Client, door: Door, content: tuple[bytes, Path], wrong: bytes | None
) -> None:
    manifest, path = content
    path.write_bytes(wrong or bytes(reversed(path.read_bytes())))
    with pytest.raises(InvalidWeights, match="the manifest names") as caught:
        client.uploads.publish("ha", manifest, path)
    assert caught.value.code == "digest_mismatch"
    assert door.methods == []


def test_a_file_that_shrinks_meanwhile_is_an_error(client: Client, door: Door, content: tuple[bytes, Path]) -> None:
    def shrink(_request: httpx.Request) -> None:
        if door.methods.count("PATCH") == 2:
            content[1].write_bytes(b"")

    door.before = shrink
    with pytest.raises(InvalidWeights, match="became shorter"):
        client.uploads.publish("ha", *content)


def test_a_server_that_is_not_there_is_said_at_once(content: tuple[bytes, Path]) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="is the server running"):
        client.uploads.publish("ha", *content)
