"""Many texts, a line for each: in order, as they are done, errors with their line, no more under way than may be."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from starlette.testclient import TestClient

from madx.tasks import ner
from service import model
from service.streaming import LINES_AT_ONCE
from tests.support.live import LiveServer, serving
from tests.support.served import PATIENCE_S, Home

TEXT = "Amina Juma works in Nairobi for Acme."
NDJSON = {"accept": "application/x-ndjson"}
LINES = {"content-type": "application/x-ndjson"}
PATH = "/v1/predict/ner?language=sw"


def line_of(text: object, **parameters: object) -> bytes:
    return json.dumps({"inputs": text, "parameters": parameters}, ensure_ascii=False).encode() + b"\n"


def answers(response: Any) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.content.split(b"\n") if line]


def test_lines_are_answered_in_their_order_as_each_alone(client: TestClient) -> None:
    texts = [TEXT, "leo", " ".join([TEXT] * 30), "Juma\u2028lives in Nairobi"] * 30
    body = b"".join(line_of(text, language=("sw", "en")[index % 2]) for index, text in enumerate(texts))
    lines = answers(client.post("/v1/predict/ner", content=body, headers=LINES))
    assert [line["index"] for line in lines] == list(range(len(texts)))
    assert [line["language_adapter"] for line in lines] == ["sw@1", "en@1"] * 60
    for index in (0, 1, 2, 3, 118, 119):
        parameters = {"language": ("sw", "en")[index % 2]}
        alone = client.post("/v1/predict/ner", json={"inputs": texts[index], "parameters": parameters})
        assert [item["word"] for item in lines[index]["output"]] == [item["word"] for item in alone.json()]
        assert lines[index]["adapter"] == "ner@1"


def test_a_json_body_may_be_answered_by_lines(client: TestClient) -> None:
    body = {"inputs": [TEXT, "leo"], "parameters": {"language": ["sw", "en"]}}
    lines = answers(client.post("/v1/predict/ner", json=body, headers=NDJSON))
    whole = client.post("/v1/predict/ner", json=body).json()
    assert [[item["word"] for item in line["output"]] for line in lines] == [
        [item["word"] for item in output] for output in whole
    ]
    assert [line["language_adapter"] for line in lines] == ["sw@1", "en@1"]
    (single,) = answers(client.post(PATH, json={"inputs": "leo"}, headers=NDJSON))
    assert single["index"] == 0


def test_an_error_is_its_line_s_alone(client: TestClient) -> None:
    body = b"".join(
        [
            line_of(TEXT),
            b"no json\n",
            b"\n",
            line_of(""),
            line_of([TEXT, TEXT]),
            line_of(TEXT, language="xx-unknown"),
            line_of(TEXT, stride="wide"),
            line_of("leo").rstrip(),
        ]
    )
    lines = answers(client.post(PATH, content=body, headers=LINES))
    assert [line["index"] for line in lines] == list(range(7))
    assert [line.get("error", {}).get("code") for line in lines] == [
        None,
        "invalid",
        "invalid",
        "invalid",
        "unknown_language",
        "invalid",
        None,
    ]
    assert [line["error"].get("field") for line in lines[1:6]] == [
        "body",
        "inputs",
        "inputs",
        None,
        "parameters.stride",
    ]
    assert all(("output" in line) != ("error" in line) for line in lines)


@pytest.mark.parametrize(
    ("path", "headers", "content", "status", "field"),
    [
        ("/v1/predict/nerd", LINES, b"", 404, None),
        ("/v1/predict/ner?lang=sw", LINES, b"", 422, "lang"),
        (PATH, NDJSON, b"no json", 422, "body"),
        (PATH, NDJSON, json.dumps({"inputs": ["a"] * 257}).encode(), 413, "inputs"),
        (PATH, NDJSON, json.dumps({"inputs": ["a"] * 256, "options": {"x": "y" * 40_000}}).encode(), 413, "body"),
        (PATH, {**LINES, "x-glossa-deadline-ms": "soon"}, b"", 422, "x-glossa-deadline-ms"),
    ],
)
def test_what_holds_for_all_lines_is_refused_as_a_whole(
    client: TestClient, path: str, headers: dict[str, str], content: bytes, status: int, field: str | None
) -> None:
    response = client.post(path, content=content, headers=headers)
    assert (response.status_code, response.json().get("field")) == (status, field)


def test_lines_are_counted_and_logged_by_the_code_they_end_with(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    body = line_of(TEXT) + b"no json\n" + line_of("") + line_of(TEXT, language="xx-unknown") + line_of("leo")
    with home.client(access_log=True) as client, caplog.at_level("INFO", logger="glossa.requests"):
        client.post(PATH, content=body, headers=LINES)
        metrics = client.app.state.server.metrics  # type: ignore[attr-defined]
        for code, count in {"": 2, "invalid": 2, "unknown_language": 1}.items():
            assert metrics.value("glossa_lines_total", task="ner", code=code) == count
    (fields,) = [record.__dict__["fields"] for record in caplog.records if record.name == "glossa.requests"]
    assert (fields["status"], fields["lines"]) == (200, 5)
    assert fields["errors"] == {"invalid": 2, "unknown_language": 1}


def test_a_line_that_fails_inside_is_its_own_error_and_tells_no_text(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = ner.encode

    def fail(text: str, *arguments: Any, **given: Any) -> Any:
        if text == "poison":
            raise RuntimeError(text)
        return real(text, *arguments, **given)

    monkeypatch.setattr(ner, "encode", fail)
    with home.client() as client:
        lines = answers(client.post(PATH, content=line_of("leo") + line_of("poison") + line_of("leo"), headers=LINES))
        metrics = client.app.state.server.metrics  # type: ignore[attr-defined]
        assert metrics.value("glossa_lines_total", task="ner", code="internal") == 1
    assert [line.get("error", {}).get("code") for line in lines] == [None, "internal", None]
    assert "a line of a request failed: RuntimeError at" in caplog.text
    assert "poison" not in caplog.text + json.dumps(lines)


def test_nothing_is_answered_by_nothing(client: TestClient) -> None:
    assert answers(client.post(PATH, content=b"\n\n", headers=LINES)) == []


def test_more_lines_than_a_json_body_may_have_texts(home: Home) -> None:
    with home.client(max_inputs=2) as client:
        assert len(answers(client.post(PATH, content=line_of("leo") * 100, headers=LINES))) == 100
        assert client.post(PATH, json={"inputs": ["leo"] * 3}, headers=NDJSON).status_code == 413


def test_a_line_that_is_too_long_is_an_error_of_its_own(home: Home) -> None:
    with home.client(max_body_bytes=200) as client:
        body = line_of("leo") + line_of("leo " * 100) + line_of("leo")
        lines = answers(client.post(PATH, content=body, headers=LINES))
    assert [line.get("error", {}).get("code") for line in lines] == [None, "too_large", None]


def test_lines_wait_for_room_in_the_queue(home: Home) -> None:
    with home.client(queue_tokens=40) as client:
        lines = answers(client.post(PATH, content=line_of(TEXT) * 100, headers=LINES))
    assert [line.get("error") for line in lines] == [None] * 100


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@contextmanager
def streaming(live: LiveServer, *headers: str) -> Iterator[socket.socket]:
    """A request whose head has been sent."""
    given = "".join(f"{header}\r\n" for header in ("host: x", "content-type: application/x-ndjson", *headers))
    with live.connect() as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\n{given}transfer-encoding: chunked\r\n\r\n".encode())
        yield connection


def until(connection: socket.socket, end: bytes) -> bytes:
    content = b""
    while end not in content:
        piece = connection.recv(1 << 16)
        assert piece, content
        content += piece
    return content


def test_a_line_is_answered_before_the_next_one_comes(home: Home) -> None:
    with serving(home) as live, streaming(live) as connection:
        for index in range(3):
            connection.sendall(chunk(line_of("leo")))
            assert b'"index":%d' % index in until(connection, b"}\n")
        connection.sendall(b"0\r\n\r\n")
        until(connection, b"0\r\n\r\n")


def test_a_line_whose_room_does_not_come_ends_at_its_deadline_and_is_no_refusal(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_run = threading.Event()
    may_run.set()
    real = model.run_rows

    def held(*arguments: Any) -> Any:
        assert may_run.wait(PATIENCE_S)
        return real(*arguments)

    monkeypatch.setattr("service.forwards.run_rows", held)
    with serving(home, queue_tokens=64) as live, ExitStack() as opened:
        opened.callback(may_run.set)
        metrics = live.app.state.server.metrics
        stream = opened.enter_context(streaming(live, "x-glossa-deadline-ms: 500"))
        stream.sendall(chunk(line_of("leo")))
        assert b'"index":0' in until(stream, b"}\n")
        may_run.clear()
        wait_for(lambda: metrics.value("glossa_queue_requests") == 0)
        body = line_of(TEXT)
        fillers: list[socket.socket] = []

        def refused() -> float:
            return metrics.value("glossa_rejections_total", reason="queue_full") or 0.0

        while not refused():
            fillers.append(opened.enter_context(live.connect()))
            head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            fillers[-1].sendall(head.encode() + body)
            wait_for(lambda: metrics.value("glossa_queue_requests") + refused() == len(fillers))
        stream.sendall(chunk(body))
        assert b'"code":"deadline_exceeded"' in until(stream, b"}\n")
        assert refused() == 1


class Held:
    """The engine of a running server, whose answers wait until they are `released`."""

    def __init__(self, live: LiveServer) -> None:
        self._engine = live.app.state.server.engine
        self._submit = self._engine.submit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Event()
        self.submitted = 0
        self.withdrawn = 0
        self._engine.submit = self._held

    def _held(self, rows: Any, **given: Any) -> "asyncio.Future[Any]":
        self._loop = asyncio.get_running_loop()
        self.submitted += 1
        future = asyncio.ensure_future(self._after_release(self._submit(rows, **given)))
        future.add_done_callback(self._note)
        return future

    async def _after_release(self, answer: "asyncio.Future[Any]") -> Any:
        try:
            await self._gate.wait()
            return await answer
        finally:
            answer.cancel()

    def _note(self, future: "asyncio.Future[Any]") -> None:
        self.withdrawn += future.cancelled()

    def release(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "it did not come to pass"
        time.sleep(0.01)


def test_no_more_lines_are_under_way_than_may_be(home: Home) -> None:
    with serving(home) as live:
        held = Held(live)
        with streaming(live) as connection:
            connection.sendall(chunk(line_of("leo") * (LINES_AT_ONCE * 3)) + b"0\r\n\r\n")
            wait_for(lambda: held.submitted == LINES_AT_ONCE)
            time.sleep(0.2)
            assert held.submitted == LINES_AT_ONCE
            held.release()
            assert until(connection, b"0\r\n\r\n").count(b'"index"') == LINES_AT_ONCE * 3


def test_the_bytes_of_the_lines_under_way_are_bounded(home: Home) -> None:
    line = line_of("leo " * 100)
    with serving(home, max_body_bytes=4 * len(line)) as live:
        held = Held(live)
        with streaming(live) as connection:
            connection.sendall(chunk(line * 20) + b"0\r\n\r\n")
            wait_for(lambda: held.submitted == 4)
            time.sleep(0.2)
            assert held.submitted == 4
            held.release()
            assert until(connection, b"0\r\n\r\n").count(b'"index"') == 20


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""], ids=["after its lines", "amid its lines"])
def test_a_client_that_leaves_takes_its_lines_out_of_the_queue(home: Home, end: bytes) -> None:
    with serving(home) as live:
        held = Held(live)
        with streaming(live) as connection:
            connection.sendall(chunk(line_of("leo") * 10) + end)
            wait_for(lambda: held.submitted == 10)
        wait_for(lambda: held.withdrawn == 10)
        held.release()


def test_a_client_that_takes_nothing_does_not_keep_its_place(home: Home) -> None:
    piece = chunk(line_of(" ".join([TEXT] * 60), aggregation_strategy="none", ignore_labels=[]))
    with serving(home, upload_idle_s=0.2) as live, streaming(live) as connection:
        metrics = live.app.state.server.metrics
        wait_for(lambda: metrics.value("glossa_requests_in_flight") == 1)
        connection.settimeout(1)
        with suppress(OSError):  # it is read only as fast as it is answered
            while True:
                connection.sendall(piece)
        wait_for(lambda: metrics.value("glossa_requests_in_flight") == 0)


def test_shutdown_answers_what_was_read_and_says_so_of_the_rest(home: Home) -> None:
    with serving(home) as live:
        held = Held(live)
        with streaming(live) as connection:
            connection.sendall(chunk(line_of("leo") * 3))
            wait_for(lambda: held.submitted == 3)
            live.stop()
            wait_for(lambda: live.app.state.server.intake.is_stopping)
            held.release()
            content = until(connection, b"0\r\n\r\n")
    lines = [json.loads(line) for line in content.partition(b"\r\n\r\n")[2].split(b"\r\n") if line.startswith(b"{")]
    assert [(line["index"], line.get("error", {}).get("code")) for line in lines] == [
        (0, None),
        (1, None),
        (2, None),
        (3, "draining"),
    ]
