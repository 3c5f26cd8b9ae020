"""The client's requests and errors, against answers of every kind."""

import json

import httpx
import pytest

from glossa import Client, ClientError


def client_of(answer: httpx.Response, seen: list[httpx.Request] | None = None) -> Client:
    """A client of a server that gives one answer."""

    def reply(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return answer

    return Client("http://glossa.test", "a-key", httpx.MockTransport(reply))


def test_a_prediction_sends_inputs_and_parameters() -> None:
    seen: list[httpx.Request] = []
    answer = httpx.Response(200, json=[{"word": "Juma"}], headers={"x-glossa-adapter": "ner@1", "x-total-time": "7.5"})
    with client_of(answer, seen) as client:
        assert client.predict("ner", "Juma", language="sw") == [{"word": "Juma"}]
        told = client.answer("ner", ["Juma"])
    assert (told.adapter, told.language_adapter, told.total_ms) == ("ner@1", None, 7.5)
    first, second = seen
    assert str(first.url) == "http://glossa.test/v1/predict/ner"
    assert first.headers["authorization"] == "Bearer a-key"
    assert json.loads(first.content) == {"inputs": "Juma", "parameters": {"language": "sw"}}
    assert json.loads(second.content) == {"inputs": ["Juma"]}


def test_a_task_cannot_leave_its_place_in_the_address() -> None:
    seen: list[httpx.Request] = []
    with client_of(httpx.Response(200, json=[]), seen) as client:
        client.predict("../adapters?x=", "Juma")
    assert seen[0].url.raw_path == b"/v1/predict/..%2Fadapters%3Fx%3D"


def test_a_problem_becomes_an_error_with_its_code() -> None:
    problem = {"code": "unknown_language", "detail": "no adapter for language 'xx'", "nearest": ["sw"], "status": 404}
    with client_of(httpx.Response(404, json=problem)) as client, pytest.raises(ClientError) as caught:
        client.predict("ner", "Juma", language="xx")
    error = caught.value
    assert (error.code, error.status, error.detail) == ("unknown_language", 404, problem["detail"])
    assert error.problem["nearest"] == ["sw"]


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json={"other": 1})])
def test_a_foreign_server_is_said_to_be_one(answer: httpx.Response) -> None:
    with client_of(answer) as client, pytest.raises(ClientError, match="something else than a Glossa server"):
        client.languages()


def test_a_page_of_a_proxy_is_an_error_with_its_status() -> None:
    with client_of(httpx.Response(502, text="<html>")) as client, pytest.raises(ClientError) as caught:
        client.tasks()
    assert (caught.value.code, caught.value.status) == ("unexpected_answer", 502)


def test_no_server_is_said_as_such() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="is the server running") as caught:
        client.adapters()
    assert (caught.value.code, caught.value.status) == ("unreachable", None)


def test_each_error_has_a_code_of_its_own() -> None:
    ClientError("first", code="one", status=None)
    assert ClientError("second", code="two", status=None).code == "two"
    assert ClientError.code == "error"


def test_a_text_that_is_no_unicode_is_refused_before_it_is_sent() -> None:
    seen: list[httpx.Request] = []
    with client_of(httpx.Response(200, json=[]), seen) as client, pytest.raises(ClientError, match="UTF-8") as caught:
        client.predict("ner", "Juma \udcff")
    assert (caught.value.code, caught.value.status, seen) == ("invalid", None, [])
