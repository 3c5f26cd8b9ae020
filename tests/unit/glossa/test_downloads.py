"""Downloads against servers that break off, restart, ignore ranges and send something else."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from glossa import Client, ClientError
from glossa.patience import Patience

WEIGHTS = bytes(range(256)) * 64
Reply = Callable[[httpx.Request], httpx.Response]


class Broken(httpx.SyncByteStream):
    """A body whose connection is lost after its first bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("connection lost")


def start_of(request: httpx.Request) -> int:
    return int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def part(request: httpx.Request, stream: Callable[[bytes], httpx.SyncByteStream]) -> httpx.Response:
    start = start_of(request)
    headers = {"etag": '"digest"'}
    if start:
        headers["content-range"] = f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"
    return httpx.Response(206 if start else 200, headers=headers, stream=stream(WEIGHTS[start:]))


def download(reply: Reply, *, start: int = 0, tries: int = 12) -> tuple[bytes, list[float]]:
    """The bytes, and the pauses that were made."""
    pauses: list[float] = []
    with Client("http://glossa.test", transport=httpx.MockTransport(reply)) as client:
        patience = Patience(tries=tries, sleep=pauses.append)
        return b"".join(client.downloads.weights("sw", 1, start=start, patience=patience)), pauses


def test_a_broken_download_goes_on_where_it_was() -> None:
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) < 4:
            return part(request, lambda content: Broken(content[:1000]))
        return part(request, httpx.ByteStream)

    found, pauses = download(reply)
    assert found == WEIGHTS
    assert [start_of(request) for request in seen] == [0, 1000, 2000, 3000]
    assert {request.headers.get("if-range") for request in seen[1:]} == {'"digest"'}
    assert len(pauses) == 3


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            return part(request, lambda content: Broken(content[:1000]))
        if len(seen) == 2:
            raise httpx.ConnectError("refused")
        if len(seen) == 3:
            return httpx.Response(503, headers={"retry-after": "7"}, json={"code": "not_ready", "detail": "later"})
        return part(request, httpx.ByteStream)

    found, pauses = download(reply)
    assert found == WEIGHTS
    assert pauses == [0.5, 1.0, 7.0]


def test_patience_ends() -> None:
    seen: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) == 1:
            return part(request, lambda content: Broken(content[:1000]))
        raise httpx.ConnectError("refused")

    with pytest.raises(ClientError, match="is the server running") as caught:
        download(reply, tries=4)
    assert caught.value.code == "unreachable"
    assert len(seen) == 4


def test_a_server_that_never_was_there_is_not_waited_for() -> None:
    def reply(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ClientError, match="is the server running"):
        download(reply)


def test_a_refusal_in_the_middle_is_told() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        if "range" in request.headers:
            return httpx.Response(404, json={"code": "unknown_version", "detail": "deleted: sw@1"})
        return part(request, lambda content: Broken(content[:1000]))

    with pytest.raises(ClientError, match="deleted: sw@1"):
        download(reply)


def test_a_proxy_that_ignores_ranges_costs_time_and_no_byte() -> None:
    def reply(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=WEIGHTS)

    assert download(reply, start=5000)[0] == WEIGHTS[5000:]


def test_another_range_than_the_one_asked_for_is_refused() -> None:
    def reply(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(206, headers={"content-range": f"bytes 0-99/{len(WEIGHTS)}"}, content=WEIGHTS[:100])

    with pytest.raises(ClientError, match="something else than a Glossa server"):
        download(reply, start=5000)
