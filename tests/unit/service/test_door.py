"""A full queue refuses predictions at the door, on connections to a running server, and nothing else."""

import logging
import socket
from collections.abc import Iterator

import httpx
import pytest

from registry.access import create_key
from service.door import MOST_BODY_BYTES
from service.errors import QueueFull
from tests.support.live import LiveServer, serving
from tests.support.recorded import recorded
from tests.support.served import PATIENCE_S, Home

PATH = "/v1/predict/ner?language=sw"
BODY = {"inputs": "Juma lives in Nairobi"}
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n".encode()


@pytest.fixture(scope="module")
def full(home: Home) -> Iterator[LiveServer]:
    """Its queue has room for nobody."""
    with serving(home, keys="required", access_log=True) as server:
        server.app.state.server.engine.has_room = _no_room
        yield server


@pytest.fixture
def client(full: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=full.address, timeout=PATIENCE_S) as client:
        yield client


def _no_room(key: str) -> None:
    raise QueueFull(f"no room for {key!r}", retry_after_s=7)


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_full_queue_refuses_before_key_and_body_are_looked_at(client: httpx.Client, kind: str) -> None:
    for _ in range(3):  # on the same connection
        refusal = client.post(PATH, content=b"no json", headers={"content-type": kind, "x-request-id": "mine"})
        assert (refusal.status_code, refusal.json()["code"]) == (429, "queue_full")
        assert refusal.headers["content-type"] == "application/problem+json"
        assert refusal.headers["retry-after"] == "7"
        assert refusal.headers["x-request-id"] == "mine"


def test_the_next_request_on_the_connection_is_answered(full: LiveServer) -> None:
    """Whether the refused one's body came with its head, later, or in pieces."""
    body = b'{"inputs": "Juma"}'
    refused = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode()
    with full.connect() as connection:
        for pieces in ([refused + body], [refused, body], [refused, body[:4], body[4:]]):
            for piece in pieces:
                connection.sendall(piece)
            assert _answers(connection, 1) == [429]
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert _answers(connection, 1) == [200]


def test_requests_that_come_together_are_answered_in_their_order(home: Home) -> None:
    live = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    refused = HEAD + b"Content-Length: 2\r\n\r\n{}"
    with serving(home) as server, server.connect() as connection:
        server.app.state.server.engine.has_room = _no_room
        connection.sendall(live + refused * 200 + live + refused)
        assert _answers(connection, 203) == [200, *[429] * 200, 200, 429]


def _answers(connection: socket.socket, number: int) -> list[int]:
    """Statuses of the next answers, whose bodies are JSON objects or `OK`."""
    content = b""
    while content.count(b"HTTP/1.1 ") < number or not content.endswith((b"}", b"OK")):
        chunk = connection.recv(1 << 16)
        assert chunk, content
        content += chunk
    return [int(answer[:3]) for answer in content.split(b"HTTP/1.1 ")[1:]]


def test_such_a_refusal_is_counted_and_logged_as_a_prediction(full: LiveServer, client: httpx.Client) -> None:
    metrics = full.app.state.server.metrics
    labels = {"route": "/v1/predict/{task}", "task": "ner", "status": "429", "code": "queue_full"}
    before = metrics.value("glossa_requests_total", **labels) or 0.0
    with recorded(logging.INFO) as recorder:
        client.post(PATH, json=BODY, headers={"x-request-id": "logged"})
    assert metrics.value("glossa_requests_total", **labels) == before + 1
    (line,) = recorder.of("glossa.requests")
    assert line["message"] == "POST /v1/predict/{task} 429"
    assert (line["request_id"], line["code"], line["task"]) == ("logged", "queue_full", "ner")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", PATH, 405), ("POST", "/v1/predict/poetry", 401), ("GET", "/health/live", 200), ("GET", "/v1/tasks", 401)],
)
def test_a_full_queue_refuses_nothing_else(client: httpx.Client, method: str, path: str, status: int) -> None:
    assert client.request(method, path).status_code == status


def test_large_bodies_and_those_without_a_length_are_left_to_the_app(client: httpx.Client) -> None:
    """Which looks for the key first."""
    large = client.post(PATH, content=b" " * (MOST_BODY_BYTES + 1))
    pieces = client.post(PATH, content=iter([b"{}"]))
    assert [large.status_code, pieces.status_code] == [401, 401]


def test_a_key_that_holds_its_part_of_the_queue_is_refused_once_it_is_known(own_home: Home) -> None:
    """Whoever is not known, or may not predict, is left to the app."""
    with own_home.registry() as registry:
        (greedy_key, greedy), (_, modest) = (create_key(registry, name=name, role="predict") for name in ("a", "b"))
    seen: list[str] = []

    def no_room_for_greedy(key: str) -> None:
        seen.append(key)
        if key == greedy_key.id:
            _no_room(key)

    with serving(own_home, keys="required") as server, httpx.Client(base_url=server.address) as client:
        state = server.app.state.server
        state.engine.has_room = no_room_for_greedy
        answers = [
            client.post(PATH, json=BODY, headers={"authorization": f"{scheme} {secret}"}).status_code
            for scheme, secret in [
                ("Bearer", greedy),
                ("bearer", greedy),
                ("Bearer", modest),
                ("Bearer", modest),
                ("Basic", greedy),
                ("Bearer", "nobody"),
            ]
        ]
        assert client.get("/v1/tasks", headers={"authorization": f"Bearer {greedy}"}).status_code == 200
    assert answers == [429, 429, 200, 200, 401, 401]
    assert seen.count(greedy_key.id) == 2
    assert seen[:3] == ["", greedy_key.id, greedy_key.id]  # the first time it is the route that knows the key
