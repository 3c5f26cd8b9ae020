"""The proxy that makes a store far away: it passes on what it gets, later, slower, or not until it goes on."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.servers.throttle import Throttle, throttle


@contextmanager
def echoing(times: int = 1) -> Iterator[str]:
    """A server that answers every byte string `times` over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while chunk := connection.recv(1 << 16):
                    connection.sendall(chunk * times)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        host, port = listener.getsockname()
        yield f"http://{host}:{port}"
        thread.join(10)


@contextmanager
def client(proxy: Throttle) -> Iterator[socket.socket]:
    host, port = proxy.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(1 << 16)
        assert chunk, "the connection ended early"
        received += chunk
    return received


def test_it_passes_everything_on() -> None:
    with echoing(times=1000) as endpoint, throttle(endpoint) as proxy, client(proxy) as connection:
        connection.sendall(b"0123456789")
        assert receive(connection, 10_000) == b"0123456789" * 1000
        assert proxy.passed_bytes == 10_000


def test_requests_come_late_and_answers_no_faster_than_the_line() -> None:
    with echoing(times=1000) as endpoint, throttle(endpoint) as proxy, client(proxy) as connection:
        proxy.slow(latency_s=0.1, bytes_per_s=100_000)
        began_s = time.monotonic()
        connection.sendall(b"0123456789")
        receive(connection, 10_000)
        assert time.monotonic() - began_s >= 0.2


def test_nothing_passes_while_it_hangs() -> None:
    with echoing() as endpoint, throttle(endpoint) as proxy, client(proxy) as connection:
        proxy.hang()
        connection.sendall(b"hello")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(10)
        proxy.go_on()
        assert receive(connection, 5) == b"hello"
