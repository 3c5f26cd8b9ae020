"""No text that a request brings, and no secret, is ever logged: by no logger at any level, however the request ends."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import service.app
from madx.errors import GlossaError
from registry import access
from service.model import Model, open_model
from service.settings import Settings
from tests.support.live import LiveServer, serving
from tests.support.recorded import Recorder, recorded
from tests.support.served import PATIENCE_S, Forward, Home

TEXT = "zainabu alienda mombasa"
"""Words that are nowhere else; each request has them in one place."""
NER = "/v1/predict/ner"


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Forward:
    """The forward of every server that starts now; with its gate open."""
    forward = Forward()
    forward.gate.set()

    def opened(settings: Settings) -> Model:
        model = open_model(settings)
        forward.real = model.infer
        return dataclasses.replace(model, infer=forward)

    monkeypatch.setattr(service.app, "open_model", opened)
    return forward


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """From before the server is there, since libraries look at the level when they begin."""
    with recorded(level=1) as recorder:
        yield recorder


@pytest.fixture
def secret(own_home: Home) -> str:
    with own_home.registry() as registry:
        _, shown = access.create_key(registry, name="a writer", role="write")
    return shown


@pytest.fixture
def live(recorder: Recorder, forward: Forward, own_home: Home, secret: str) -> Iterator[LiveServer]:
    with serving(own_home, keys="required", access_log=True) as live:
        forward.is_watched = True
        yield live


@pytest.fixture
def client(live: LiveServer, secret: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {secret}"}
    with httpx.Client(base_url=live.address, timeout=PATIENCE_S, headers=headers) as client:
        yield client


def ask(client: httpx.Client, **parameters: Any) -> httpx.Response:
    return client.post(NER, json={"inputs": TEXT, "parameters": {"language": "sw"} | parameters})


def check(recorder: Recorder, *hidden: str) -> None:
    """`httpx` is this test's own client, in the same process."""
    assert recorder.lines
    logged = [
        (as_json, as_text)
        for as_json, as_text in zip(recorder.lines, recorder.texts, strict=True)
        if not json.loads(as_json)["logger"].startswith(("httpx", "httpcore"))
    ]
    words = [*TEXT.split(), *hidden]
    assert [line for line in logged for word in words if any(word in form.lower() for form in line)] == []


def test_answers(client: httpx.Client, recorder: Recorder, secret: str) -> None:
    assert ask(client).status_code == 200
    assert client.post("/v1/predict/fill-mask", json={"inputs": f"{TEXT} <mask>"}).status_code == 200
    assert [line["status"] for line in recorder.wait_for("glossa.requests", 2)] == [200, 200]
    check(recorder, secret.lower())


def test_answers_line_by_line(client: httpx.Client, recorder: Recorder) -> None:
    lines = [{"inputs": TEXT}, {"inputs": TEXT, "parameters": {"adapter": TEXT}}, {TEXT: TEXT}]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    kind = {"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}
    answer = client.post(f"{NER}?language=sw", content=content, headers=kind)
    assert ["problem" in line for line in answer.text.splitlines()] == [False, True, True]
    recorder.wait_for("glossa.requests")
    check(recorder)


def test_refusals(client: httpx.Client, recorder: Recorder) -> None:
    refused = [
        ask(client, language=TEXT),
        ask(client, adapter=TEXT),
        ask(client, **{TEXT: 1}),
        client.post(NER, content=f'{{"inputs": "{TEXT}"'),
        client.post(NER, json={"inputs": [TEXT, 3]}),
        client.post(f"{NER}?language={TEXT}", json={"inputs": "a"}),
        client.post(f"{NER}?{TEXT}=1", json={"inputs": "a"}),
        client.post(f"/v1/predict/{TEXT}", json={"inputs": "a"}),
        client.get(f"/{TEXT}"),
        client.get(f"/v1/adapters?q={TEXT}&cursor={TEXT}"),
        client.post(NER, json={"inputs": "a"}, headers={"authorization": f"Bearer {TEXT}"}),
        client.post("/v1/adapters/x/versions", files={"manifest": TEXT}, headers={"x-request-id": TEXT}),
        client.request("GET", NER, headers={"x-request-id": TEXT}),
    ]
    assert {answer.status_code // 100 for answer in refused} == {4}
    recorder.wait_for("glossa.requests", len(refused))
    check(recorder)


@pytest.mark.parametrize("error", [RuntimeError(TEXT), type("Ours", (GlossaError,), {"code": "ours"})(TEXT)])
def test_a_forward_that_fails(client: httpx.Client, recorder: Recorder, forward: Forward, error: Exception) -> None:
    forward.failures += [error] * 8
    assert ask(client).status_code == 500
    assert recorder.wait_for("glossa.requests")[0]["code"] == "internal"
    check(recorder)


def test_a_route_that_fails(client: httpx.Client, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: object) -> None:
        raise ValueError(TEXT) from RuntimeError(TEXT)

    monkeypatch.setattr("service.routes.predict.note_of", failing)
    assert ask(client).status_code == 500
    recorder.wait_for("glossa.requests")
    (failed,) = recorder.of("service.barrier")
    assert "ValueError at test_log_contents.py" in failed["message"]
    check(recorder)


def test_a_client_that_leaves(client: httpx.Client, recorder: Recorder, live: LiveServer, forward: Forward) -> None:
    forward.gate.clear()
    body = json.dumps({"inputs": TEXT, "parameters": {"language": "sw"}}).encode()
    head = f"POST {NER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    authorization = f"authorization: {client.headers['authorization']}\r\n\r\n"
    with live.connect() as connection:
        connection.sendall((head + authorization).encode() + body)
        assert forward.entered.acquire(timeout=PATIENCE_S)
    with ThreadPoolExecutor(1) as pool:
        after = pool.submit(ask, client)
        forward.gate.set()
        assert after.result().status_code == 200
    assert sorted(line["status"] for line in recorder.wait_for("glossa.requests", 2)) == [200, 499]
    assert live.app.state.server.metrics.value("glossa_disconnects_total") == 1
    check(recorder)


def test_an_error_that_nobody_takes(home: Home, recorder: Recorder) -> None:
    """Of a callback of the server's loop: asyncio itself would print its arguments, and the message."""

    def failing(_text: str) -> None:
        raise ValueError(TEXT)

    async def begin() -> None:
        asyncio.get_running_loop().call_soon(failing, TEXT)
        await asyncio.sleep(0)

    with home.client() as client:
        assert client.portal is not None
        client.portal.call(begin)
    (line,) = recorder.of("service.logs")
    assert "ValueError at test_log_contents.py" in line["message"]
    check(recorder)


def test_the_recorder_would_have_seen_it(recorder: Recorder) -> None:
    logging.getLogger("any.library").debug("given %s", TEXT)
    with pytest.raises(AssertionError):
        check(recorder)
