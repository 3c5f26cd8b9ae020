"""A TCP proxy on loopback that makes a store far away: a delay for every request, a rate that all answers share.

It can also hang: then nothing passes in either direction, and connections stay open, until it goes on.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16


class Throttle:
    """Passes everything on at once until `slow` is called. Threads of its own do the work."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._listener = listener
        self._target = target
        self._lock = threading.Lock()
        self._latency_s = 0.0
        self._bytes_per_s = float("inf")
        self._free_s = 0.0
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self.passed_bytes = 0
        self.endpoint = "http://{}:{}".format(*listener.getsockname())

    def slow(self, *, latency_s: float, bytes_per_s: float) -> None:
        """From now on: before what a client sends, and shared by all that the server answers."""
        with self._lock:
            self._latency_s, self._bytes_per_s = latency_s, bytes_per_s

    def hang(self) -> None:
        self._flowing.clear()

    def go_on(self) -> None:
        self._flowing.set()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._open |= {client, server}
            for pump, source, target in ((self._request, client, server), (self._answer, server, client)):
                threading.Thread(target=_passing, args=(pump, source, target), daemon=True).start()

    def close(self) -> None:
        self.go_on()
        for connection in (self._listener, *self._open):
            _cut(connection)

    def _request(self, chunk: bytes, target: socket.socket) -> None:
        time.sleep(self._latency_s)
        self._flowing.wait()
        target.sendall(chunk)

    def _answer(self, chunk: bytes, target: socket.socket) -> None:
        time.sleep(self._turn_s(len(chunk)))
        self._flowing.wait()
        target.sendall(chunk)

    def _turn_s(self, size: int) -> float:
        """Seconds until so many bytes may pass, which are counted from here on."""
        with self._lock:
            self.passed_bytes += size
            now_s = time.monotonic()
            self._free_s = max(self._free_s, now_s) + size / self._bytes_per_s
            return self._free_s - now_s


def _passing(pump: Callable[[bytes, socket.socket], None], source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            pump(chunk, target)
    _cut(source)
    _cut(target)


def _cut(connection: socket.socket) -> None:
    """Shut down before it is closed, so that a thread that reads it wakes up."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def throttle(endpoint: str) -> Iterator[Throttle]:
    """Before the server at `endpoint`."""
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = Throttle(listener, (parts.hostname, parts.port))
    threading.Thread(target=proxy.accept, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
