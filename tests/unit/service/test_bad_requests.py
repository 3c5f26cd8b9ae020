"""What a client can do wrong, and what it is told: problem+json with a stable code, never a traceback."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.support.served import Home

NER = "/v1/predict/ner"


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == f"urn:glossa:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b'{"inputs": "a\xff"}', "body"),
        (b'{"inputs": "\\ud800"}', "body"),
        (b"{}", "inputs"),
        (b'{"inputs": null}', "inputs"),
        (b'{"inputs": 3}', "inputs"),
        (b'{"inputs": {}}', "inputs"),
        (b'{"inputs": []}', "inputs"),
        (b'{"inputs": ""}', "inputs"),
        (b'{"inputs": " \\n\\u3000"}', "inputs"),
        (b'{"inputs": ["x", ""]}', "inputs.1"),
        (b'{"inputs": ["x", ["y"]]}', "inputs.1"),
        (b'{"inputs": "x", "parameters": []}', "parameters"),
        (b'{"inputs": "x", "parameters": {"langage": "sw"}}', "parameters.langage"),
        (b'{"inputs": "x", "parameters": {"language": 3}}', "parameters.language"),
        (b'{"inputs": "x", "parameters": {"language": []}}', "parameters.language"),
        (b'{"inputs": ["x", "y"], "parameters": {"language": ["sw", 3]}}', "parameters.language"),
        (b'{"inputs": ["x", "y"], "parameters": {"language": ["sw"]}}', "parameters.language"),
        (b'{"inputs": "x", "parameters": {"leave_out": "1"}}', "parameters.leave_out"),
        (b'{"inputs": "x", "parameters": {"leave_out": ["1"]}}', "parameters.leave_out.0"),
        (b'{"inputs": "x", "parameters": {"leave_out": [2], "language": "sw"}}', "parameters.leave_out"),
        (b'{"inputs": "x", "parameters": {"aggregation_strategy": "max"}}', "parameters.aggregation_strategy"),
        (b'{"inputs": "x", "parameters": {"ignore_labels": "O"}}', "parameters.ignore_labels"),
        (b'{"inputs": "x", "parameters": {"stride": -1}}', "parameters.stride"),
        (b'{"inputs": "x", "parameters": {"stride": 127, "language": "sw"}}', "parameters.stride"),
        (b'{"inputs": "x", "parameters": {"adapter": null}}', "parameters.adapter"),
        (b'{"inputs": "x", "parameters": {"adapter": "sw"}}', "parameters.adapter"),
        (b'{"inputs": "x", "parameters": {"adapter": "no name"}}', "parameters.adapter"),
        (b'{"inputs": "x", "parameters": {"adapter": "ner@0"}}', "parameters.adapter"),
        (b'{"inputs": "x", "parameters": {"language_adapter": "ner"}}', "parameters.language_adapter"),
        (b'{"inputs": "x", "text": "y"}', "text"),
    ],
)
def test_a_wrong_part_is_named(client: TestClient, body: bytes, field: str) -> None:
    assert refused(client.post(NER, content=body), 422, "invalid")["field"] == field


def test_a_missing_language_is_asked_for(client: TestClient) -> None:
    problem = refused(client.post(NER, json={"inputs": "x"}), 422, "language_missing")
    assert problem["field"] == "parameters.language"


def test_an_unknown_task_is_404_with_the_nearest(client: TestClient) -> None:
    assert refused(client.post("/v1/predict/nerr", json={}), 404, "unknown_task")["nearest"] == ["ner"]
    assert refused(client.post("/v1/predict/fill_mask", json={}), 404, "unknown_task")["nearest"] == ["fill-mask"]


@pytest.mark.parametrize("language", ["swb", "zz", "not a language", "", "s"])
def test_an_unknown_language_is_404(client: TestClient, language: str) -> None:
    refused(client.post(NER, json={"inputs": "x", "parameters": {"language": language}}), 404, "unknown_language")


@pytest.mark.parametrize("length", [64, 65])
def test_a_tag_that_no_adapter_can_have_is_refused_unread(client: TestClient, length: int) -> None:
    status, code = (404, "unknown_language") if length == 64 else (422, "invalid")
    body = {"inputs": ["x", "y"], "parameters": {"language": ["sw", "s" * length]}}
    for response in (client.post(NER, json=body), client.post(f"{NER}?language={'s' * length}", json={"inputs": "x"})):
        problem = refused(response, status, code)
        assert problem.get("field") == (None if length == 64 else "parameters.language")


def test_a_near_language_is_offered(client: TestClient) -> None:
    problem = refused(client.post(f"{NER}?language=swx", json={"inputs": "x"}), 404, "unknown_language")
    assert "sw" in problem["nearest"]


@pytest.mark.parametrize(
    ("reference", "code"),
    [("nerr", "unknown_adapter"), ("ner@7", "unknown_version"), ("ner@best", "unknown_alias")],
)
def test_an_unknown_reference_is_404(client: TestClient, reference: str, code: str) -> None:
    body = {"inputs": "x", "parameters": {"adapter": reference, "language": "sw"}}
    problem = refused(client.post(NER, json=body), 404, code)
    if code != "unknown_alias":
        assert problem["nearest"][0].startswith("ner")


def test_what_the_client_sent_is_not_echoed_without_end(client: TestClient) -> None:
    problem = refused(client.post(NER, json={"inputs": "x", "k" * 50_000: 1}), 422, "invalid")
    assert len(problem["detail"]) < 1_100
    assert problem["detail"].startswith("k" * 100)


def test_an_unknown_part_of_the_address_is_refused(client: TestClient) -> None:
    assert refused(client.post(f"{NER}?lang=sw", json={"inputs": "x"}), 422, "invalid")["field"] == "lang"


def test_unknown_addresses_and_methods_are_problems_too(client: TestClient) -> None:
    refused(client.get("/v1/nothing"), 404, "unknown_route")
    refused(client.get("/"), 404, "unknown_route")
    refused(client.post(f"{NER}/", json={"inputs": "x"}, follow_redirects=False), 404, "unknown_route")
    response = client.get(NER)
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.fixture(scope="module")
def narrow(home: Home) -> Iterator[TestClient]:
    with home.client(max_body_bytes=400, max_inputs=2, max_text_characters=50, queue_tokens=30) as client:
        yield client


def test_texts_over_the_limits_are_413(narrow: TestClient) -> None:
    assert refused(narrow.post(NER, json={"inputs": "x" * 51}), 413, "too_large")["field"] == "inputs"
    assert refused(narrow.post(NER, json={"inputs": ["x", "y" * 51]}), 413, "too_large")["field"] == "inputs.1"
    assert refused(narrow.post(NER, json={"inputs": ["x"] * 3}), 413, "too_large")["field"] == "inputs"
    assert narrow.post(f"{NER}?language=sw", json={"inputs": "x" * 20}).status_code == 200


def test_a_body_over_the_limit_is_413_whether_its_length_is_declared_or_not(narrow: TestClient) -> None:
    whole = json.dumps({"inputs": "x" * 500}).encode()
    read: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(whole), 100):
            read.append(whole[start : start + 100])
            yield read[-1]

    assert refused(narrow.post(NER, content=whole), 413, "too_large")["field"] == "body"
    assert refused(narrow.post(NER, content=pieces()), 413, "too_large")["field"] == "body"


def test_more_tokens_than_the_queue_holds_are_413_not_429_for_ever(narrow: TestClient) -> None:
    refused(narrow.post(f"{NER}?language=sw", json={"inputs": "x1y2z3" * 8}), 413, "too_large")


def test_a_request_that_takes_too_long_is_504(home: Home) -> None:
    with home.client(deadline_s=1e-6) as client:
        refused(client.post(f"{NER}?language=sw", json={"inputs": "x"}), 504, "deadline_exceeded")
        assert client.get("/health/ready").status_code == 200


def test_an_adapter_whose_bytes_are_gone_is_424(own_home: Home) -> None:
    lost = own_home.version("sw")
    with own_home.registry() as registry:
        registry.store.delete(lost.weights_digest)
    with own_home.client() as client:
        problem = refused(client.post(f"{NER}?language=sw", json={"inputs": "x"}), 424, "adapter_load_failed")
        assert "sw@1" in problem["detail"]
        assert client.post(f"{NER}?language=en", json={"inputs": "x"}).status_code == 200


def test_a_registry_that_breaks_is_a_problem_without_a_text(own_home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with own_home.client() as client:
        for name in ("registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm"):
            (own_home.folder / name).unlink(missing_ok=True)
        (own_home.folder / "registry.sqlite").write_bytes(b"not a database " * 1000)
        server = client.app.state.server  # type: ignore[attr-defined]
        server.registry.close()
        response = client.post(f"{NER}?language=sw", json={"inputs": "my secret text"})
        problem = refused(response, 503, "database_unavailable")
    assert str(own_home.folder) not in problem["detail"]
    assert str(own_home.folder) in caplog.text
    assert "my secret text" not in caplog.text


async def broken() -> None:
    raise RuntimeError("my secret text")


def test_what_nobody_expected_is_500_without_its_text(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    with home.client() as client:
        app = client.app
        assert isinstance(app, FastAPI)
        app.add_api_route("/broken", broken)
        problem = refused(client.get("/broken"), 500, "internal")
    assert "secret" not in json.dumps(problem)
    assert "secret" not in caplog.text
    assert "RuntimeError at test_bad_requests.py" in caplog.text
