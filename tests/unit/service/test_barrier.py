"""Around every request: its id, its line of the log, and its figures."""

import logging
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from registry import access
from tests.support.recorded import Recorder, recorded
from tests.support.served import Home

REQUESTS = "glossa.requests"


@pytest.fixture(scope="module")
def talkative(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client, with a key, of a server that logs every request."""
    own = home.copy(tmp_path_factory.mktemp("talkative") / "home")
    with own.registry() as registry:
        key, secret = access.create_key(registry, name="a reader", role="write")
    with own.client(keys="required", access_log=True) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        yield client, key.id


def lines(recorder: Recorder) -> list[dict[str, Any]]:
    return recorder.of(REQUESTS)


@pytest.mark.parametrize("given", ["a", "trace.7_B-c", "x" * 64])
def test_a_safe_id_of_the_clients_is_kept(client: TestClient, given: str) -> None:
    assert client.get("/health/live", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a;b", 'a"b', "é", "a\tb"])
def test_any_other_id_is_replaced(client: TestClient, given: str) -> None:
    answer = client.get("/health/live", headers=[(b"x-request-id", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


def test_a_prediction_has_a_line_with_what_ran(talkative: tuple[TestClient, str]) -> None:
    client, key = talkative
    with recorded(logging.INFO) as recorder:
        answer = client.post("/v1/predict/ner?language=sw", json={"inputs": "Juma"}, headers={"x-request-id": "r-1"})
    (line,) = lines(recorder)
    assert answer.status_code == 200
    assert line["message"] == "POST /v1/predict/{task} 200"
    assert [line[name] for name in ("request_id", "level", "method", "route", "status", "task", "key", "code")] == [
        "r-1",
        "info",
        "POST",
        "/v1/predict/{task}",
        200,
        "ner",
        key,
        "",
    ]
    assert line["adapters"] == ["ner@1", "sw@1"]
    assert str(line["tokens"]) == answer.headers["x-compute-tokens"]
    assert 0 < line["inference_s"] < line["seconds"]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/predict/ner", ("/v1/predict/{task}", 405, "method_not_allowed")),
        ("POST", "/v1/predict/mine", ("/v1/predict/{task}", 404, "unknown_task")),
        ("GET", "/nothing/at/all", ("unknown", 404, "unknown_route")),
        ("GET", "/v1/adapters?limit=x", ("/v1/adapters", 422, "invalid")),
    ],
)
def test_a_refusal_has_its_code(
    talkative: tuple[TestClient, str], method: str, path: str, expected: tuple[str, int, str]
) -> None:
    client, _ = talkative
    with recorded(logging.INFO) as recorder:
        client.request(method, path)
    (line,) = lines(recorder)
    assert (line["route"], line["status"], line["code"]) == expected


def test_without_the_setting_only_failures_have_a_line(home: Home) -> None:
    with home.client() as client, recorded(logging.INFO) as recorder:
        server = client.app.state.server  # type: ignore[attr-defined]
        assert client.get("/v1/tasks").status_code == 200
        assert client.get("/nothing").status_code == 404
        assert lines(recorder) == []
        assert client.portal is not None
        client.portal.call(server.engine.stop)
        assert client.get("/health/ready").status_code == 503
        (line,) = lines(recorder)
    assert (line["level"], line["status"], line["code"]) == ("warning", 503, "not_ready")


def test_every_line_of_a_request_has_its_id_and_no_other_has(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line comes from the thread in which the route runs, the others from the event loop's."""

    def failing(_server: object) -> None:
        logging.getLogger("service.inside").warning("about to fail")
        raise RuntimeError("never told")

    monkeypatch.setattr("service.listings.tasks", failing)
    with home.client() as client, recorded(logging.WARNING) as recorder:
        logging.getLogger("service.inside").warning("before")
        answer = client.get("/v1/tasks", headers={"x-request-id": "r-1"})
        logging.getLogger("service.inside").warning("after")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert [line.get("request_id") for line in recorder.of("service.inside")] == [None, "r-1", None]
    (failed,), (line,) = recorder.of("service.barrier"), lines(recorder)
    assert (failed["request_id"], line["request_id"], line["code"]) == ("r-1", "r-1", "internal")
    assert "RuntimeError at test_barrier.py" in failed["message"]
    assert not any("never told" in text for text in recorder.lines)


def test_requests_and_what_they_end_with_are_counted(home: Home) -> None:
    with home.client() as client:
        metrics = client.app.state.server.metrics  # type: ignore[attr-defined]
        client.post("/v1/predict/ner?language=sw", json={"inputs": ["Juma", "leo"]})
        client.post("/v1/predict/ner", json={"inputs": "Juma"})
        in_flight = metrics.value("glossa_requests_in_flight")
        labels = {"route": "/v1/predict/{task}", "task": "ner"}
        assert metrics.value("glossa_requests_total", **labels, status="200", code="") == 1
        assert metrics.value("glossa_requests_total", **labels, status="422", code="language_missing") == 1
        assert metrics.value("glossa_request_seconds_count", **labels) == 2
        for part in ("tokenization", "queue", "inference"):
            assert metrics.value(f"glossa_{part}_seconds_count", task="ner") == 1
        assert metrics.value("glossa_computed_tokens_total", task="ner") > 2
    assert in_flight == 0
