"""What is being prepared, over HTTP: bounded, refused early, and given up when its client leaves."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from madx.tasks import ner
from registry import access
from service.metrics import Metrics
from tests.support.live import serving
from tests.support.served import PATIENCE_S, Home

PATH = "/v1/predict/ner?language=sw"
SMALL = {"inputs": "Juma lives in Nairobi"}
LONG = {"inputs": "x" * 40_000}  # a single word


class Gate:
    """What a thread is held at."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.may_pass = threading.Event()

    def before(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any, **given: Any) -> Any:
            self.reached.set()
            assert self.may_pass.wait(PATIENCE_S)
            return work(*arguments, **given)

        return held

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.may_pass.set()


def key(home: Home, name: str) -> dict[str, str]:
    with home.registry() as registry:
        _, shown = access.create_key(registry, name=name, role="predict")
        return {"authorization": f"Bearer {shown}"}


def test_more_words_than_the_queue_holds_tokens_are_not_even_tokenised(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: Any, **_given: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(ner, "encode", never)
    with home.client(queue_tokens=600) as client:
        refusal = client.post(PATH, json={"inputs": ["leo " * 300, "leo " * 301]})
    assert (refusal.status_code, refusal.json()["code"]) == (413, "too_large")
    assert "601 words" in refusal.json()["detail"]


def test_what_a_key_has_in_preparation_is_bounded_and_in_nobody_else_s_way(
    own_home: Home, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    flood, other = key(own_home, "flood"), key(own_home, "other")
    lines = json.dumps({"inputs": "leo " * 300}).encode() + b"\n"
    with own_home.client(keys="required", queue_tokens=4_000) as client, ThreadPoolExecutor(2) as threads:
        assert client.post(PATH, json=SMALL, headers=other).status_code == 200  # what it names is remembered
        with monkeypatch.context() as patch:
            patch.setattr(ner, "encode", gate.before(ner.encode))
            held = threads.submit(client.post, PATH, json=LONG, headers=flood)
            gate.wait()
        refusal = client.post(PATH, json=LONG, headers=flood)
        assert (refusal.status_code, refusal.json()["code"]) == (429, "queue_full")
        assert refusal.headers["retry-after"] == "1"
        assert client.post(PATH, json=SMALL, headers=flood).status_code == 200
        assert client.post(PATH, json=SMALL, headers=other).status_code == 200
        stream = threads.submit(
            client.post, PATH, content=lines, headers={**flood, "content-type": "application/x-ndjson"}
        )
        gate.may_pass.set()
        assert held.result(PATIENCE_S).status_code == 200
        assert "output" in json.loads(stream.result(PATIENCE_S).content)


def until(metrics: Metrics, name: str, value: float) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while metrics.value(name) != value:
        assert time.monotonic() < until_s, f"{name} did not become {value}"
        time.sleep(0.01)


def test_a_client_that_leaves_while_the_registry_is_asked_is_given_up(home: Home, gate: Gate) -> None:
    body = json.dumps(SMALL | {"parameters": {"adapter": "ner@1", "language": "sw"}}).encode()
    with serving(home) as live:
        server = live.app.state.server
        server.resolutions.find = gate.before(server.resolutions.find)
        with live.connect() as connection:
            head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            gate.wait()
        until(server.metrics, "glossa_disconnects_total", 1)
        until(server.metrics, "glossa_requests_in_flight", 0)
        assert not gate.may_pass.is_set()
        gate.may_pass.set()
