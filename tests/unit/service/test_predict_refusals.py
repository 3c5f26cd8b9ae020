"""What is refused before anything is computed: deadlines that are none, and requests for which there is no room."""

import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.errors import QueueFull
from service.work import AskedRow
from tests.support.served import Home

BODY = {"inputs": "Juma lives in Nairobi"}
PATH = "/v1/predict/ner?language=sw"


def ask(client: TestClient, text: str) -> Any:
    return client.post(PATH, json=BODY, headers={"x-glossa-deadline-ms": text})


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "soon", "", "30001", "1e3", "٣٠", "9" * 5_000])
def test_what_is_no_deadline_is_refused_with_its_field(client: TestClient, text: str) -> None:
    response = client.post(PATH, json=BODY, headers=[(b"x-glossa-deadline-ms", text.encode())])
    assert (response.status_code, response.json()["field"]) == (422, "x-glossa-deadline-ms")


def test_the_engine_is_told_the_moment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.client() as client:
        engine = client.app.state.server.engine  # type: ignore[attr-defined]
        real, told = engine.submit, []

        def submit(rows: tuple[AskedRow, ...], *, key: str, deadline_s: float) -> Any:
            told.append(deadline_s - time.monotonic())
            return real(rows, key=key, deadline_s=deadline_s)

        monkeypatch.setattr(engine, "submit", submit)
        assert client.post(PATH, json=BODY).status_code == 200
        assert ask(client, "20000").status_code == 200
    assert 20 < told[0] <= 30
    assert 10 < told[1] <= 20


def test_what_takes_longer_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.client() as client:
        assert client.post(PATH, json=BODY).status_code == 200
        engine = client.app.state.server.engine  # type: ignore[attr-defined]
        monkeypatch.setattr(engine, "submit", lambda *_rows, **_given: engine._loop.create_future())
        response = ask(client, "50")
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


def _no_room(key: str) -> None:
    raise QueueFull(f"no room for {key!r}", retry_after_s=7)


def test_what_a_key_may_not_add_to_the_queue_is_refused_before_the_body_is_looked_at(home: Home) -> None:
    with home.client() as client:
        client.app.state.server.engine.has_room = _no_room  # type: ignore[attr-defined]
        refusal = client.post(PATH, content=b"no json")
    assert (refusal.status_code, refusal.json()["code"]) == (429, "queue_full")
    assert refusal.headers["retry-after"] == "7"
