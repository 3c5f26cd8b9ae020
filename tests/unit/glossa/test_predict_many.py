"""Many texts through the Python client, against a real app and against servers that break off."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from glossa import Client, ClientError
from glossa.client import Answer
from glossa.in_process import InProcess
from glossa.patience import Patience
from glossa.predictions_client import predict_many
from tests.support.served import Home, make_home


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    served: Home = make_home(tmp_path_factory.mktemp("served"))
    with InProcess(served.settings()) as transport, Client("http://glossa.test", transport=transport) as client:
        yield client


def test_each_text_has_its_answer_or_its_error(client: Client) -> None:
    texts: list[Any] = [
        "Juma lives in Nairobi",
        {"inputs": "Amina", "parameters": {"language": "en"}},
        " ",
        "leo\u2028kesho",
    ]
    found = list(client.predict_many("ner", texts, language="sw"))
    assert [answer.language_adapter for answer in found if isinstance(answer, Answer)] == ["sw@1", "en@1", "sw@1"]
    assert isinstance(found[2], ClientError)
    assert (found[2].code, found[2].status, found[2].problem["field"]) == ("invalid", 422, "inputs")
    for index in (0, 3):
        answer = found[index]
        assert isinstance(answer, Answer)
        alone = client.predict("ner", texts[index], language="sw")
        assert [item["word"] for item in answer.content] == [item["word"] for item in alone]


def test_more_texts_than_one_request_carries(client: Client) -> None:
    found = list(client.predict_many("ner", (f"Juma {number}" for number in range(600)), language="sw"))
    assert len(found) == 600
    assert all(isinstance(answer, Answer) for answer in found)


def test_what_holds_for_all_texts_is_raised(client: Client) -> None:
    with pytest.raises(ClientError, match="no task 'nerd'"):
        list(client.predict_many("nerd", ["x"]))


def test_a_mapping_of_one_s_own_stays_as_it_is(client: Client) -> None:
    given = {"inputs": "Amina", "parameters": {"language": "en"}}
    list(client.predict_many("ner", [given], stride=3))
    assert given == {"inputs": "Amina", "parameters": {"language": "en"}}


class Breaking:
    """A server that answers so many lines of each request, then does as its plan says."""

    def __init__(self, *plan: tuple[int, str]) -> None:
        self.plan = list(plan)
        self.asked: list[list[str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        texts = [json.loads(line)["inputs"] for line in request.content.splitlines()]
        self.asked.append(texts)
        count, end = self.plan.pop(0)
        return httpx.Response(200, stream=_Lines(texts[:count], end))


class _Lines(httpx.SyncByteStream):
    def __init__(self, texts: list[str], end: str) -> None:
        self.texts = texts
        self.end = end

    def __iter__(self) -> Iterator[bytes]:
        for index, text in enumerate(self.texts):
            yield json.dumps({"index": index, "output": text}).encode() + b"\n"
        if self.end == "lost":
            raise httpx.RemoteProtocolError("peer closed connection")
        if self.end == "draining":
            problem = {"code": "draining", "status": 503, "detail": "the server is shutting down"}
            yield json.dumps({"index": len(self.texts), "error": problem}).encode() + b"\n"
        if self.end == "strange":
            yield b"<html>\n"


def ask(server: Breaking, texts: list[str], waited: list[Any] | None = None) -> list[Any]:
    waits: list[Any] = [] if waited is None else waited
    patience = Patience(sleep=lambda _: None, on_wait=lambda error, _: waits.append(error.code))
    with Client("http://glossa.test", transport=httpx.MockTransport(server)) as client:
        found = list(predict_many(client.connection, "ner", texts, {}, patience))
    return [answer.content if isinstance(answer, Answer) else answer.code for answer in found]


def test_what_breaks_off_goes_on_behind_the_last_answer() -> None:
    server = Breaking((2, "lost"), (1, "draining"), (2, "all"))
    waited: list[Any] = []
    assert ask(server, ["a", "b", "c", "d", "e"], waited) == ["a", "b", "c", "d", "e"]
    assert server.asked == [["a", "b", "c", "d", "e"], ["c", "d", "e"], ["d", "e"]]
    assert waited == ["unreachable", "draining"]


@pytest.mark.parametrize("end", ["strange", "all"])
def test_another_kind_of_server_is_not_asked_again(end: str) -> None:
    server = Breaking((1, end))
    with pytest.raises(ClientError) as error:
        ask(server, ["a", "b"])
    assert error.value.code == "unexpected_answer"
    assert len(server.asked) == 1


def test_long_texts_go_in_parts_that_a_connection_holds() -> None:
    server = Breaking(*[(9, "all")] * 9)
    texts = ["x" * 20_000] * 5 + ["y" * 100_000, "z"]
    assert ask(server, texts) == texts
    assert [len(part) for part in server.asked] == [2, 2, 1, 1, 1]
