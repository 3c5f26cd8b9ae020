"""Heads and trailers without end, or that stop, on raw connections to a running server."""

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from glossa import http_protocol
from tests.support.live import LiveServer, answer_of, serving
from tests.support.served import PATIENCE_S, Home

WAITS_S = 0.3
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /v1/predict/ner HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
MORE_BYTES = http_protocol.MOST_HEAD_BYTES


@pytest.fixture(scope="module")
def live(home: Home) -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patched, serving(home) as server:
        patched.setattr(http_protocol, "HEAD_S", WAITS_S)
        yield server


@pytest.mark.parametrize(
    "endless",
    [b"GET /" + b"x" * MORE_BYTES, LIVE + b"X-Long: " + b"x" * MORE_BYTES, LIVE + b"X: y\r\n" * (MORE_BYTES // 5)],
    ids=["address", "header", "headers"],
)
def test_a_head_without_end_is_refused(live: LiveServer, endless: bytes) -> None:
    with live.connect() as connection:
        connection.sendall(endless)
        assert answer_of(connection)[0] == 400


def test_trailers_without_end_are_refused(live: LiveServer) -> None:
    with live.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(CHUNKED + b"X-Long: " + b"x" * 8 * MORE_BYTES)
        assert answer_of(connection)[0] == 400


@pytest.mark.parametrize("begun", [b"", b"G", LIVE])
def test_a_head_that_stops_is_given_up(live: LiveServer, begun: bytes) -> None:
    with live.connect() as connection:
        connection.sendall(begun)
        began_s = time.monotonic()
        assert connection.recv(1) == b""
        assert WAITS_S / 2 < time.monotonic() - began_s < PATIENCE_S


def test_a_second_head_that_stops_is_given_up(live: LiveServer) -> None:
    with live.connect() as connection:
        connection.sendall(LIVE + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(LIVE)
        until_s = time.monotonic() + PATIENCE_S
        while connection.recv(1 << 16):
            assert time.monotonic() < until_s


def test_a_head_in_pieces_is_answered(live: LiveServer) -> None:
    with live.connect() as connection:
        for piece in (LIVE[:7], LIVE[7:], b"Connection: close\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(WAITS_S / 10)
        assert answer_of(connection)[0] == 200


def test_who_has_sent_a_request_may_be_silent(live: LiveServer) -> None:
    """Its body may come later than any head may: what waits for bodies has bounds of its own."""
    with live.connect() as connection:
        connection.sendall(
            b"POST /v1/predict/ner HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
        )
        time.sleep(2 * WAITS_S)
        connection.sendall(b"{}")
        assert answer_of(connection)[0] == 422
