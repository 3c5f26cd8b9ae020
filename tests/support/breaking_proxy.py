"""A TCP proxy on loopback that breaks connections when told to: how a server looks that dies in the middle."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 14


class BreakingProxy:
    """Forwards to one server. `break_after` counts bytes from the moment it is called, over all connections."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self._listener = listener
        self._target = target
        self._lock = threading.Lock()
        self._left: dict[str, int] = {}
        self._once = False
        self._open: set[socket.socket] = set()
        self.endpoint = "http://{}:{}".format(*listener.getsockname())

    def break_after(self, *, sent: int | None = None, received: int | None = None, once: bool = False) -> None:
        """Break the connection that passes so many bytes to or from the server; `once`, or every later one too."""
        with self._lock:
            limits = {"sent": sent, "received": received}
            self._left = {direction: limit for direction, limit in limits.items() if limit is not None}
            self._once = once

    def accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._open |= {client, server}
            for source, target, direction in ((client, server, "sent"), (server, client, "received")):
                threading.Thread(target=self._forward, args=(source, target, direction), daemon=True).start()

    def close(self) -> None:
        for connection in (self._listener, *self._open):
            _cut(connection)

    def _forward(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                allowed = self._allowed(direction, len(chunk))
                target.sendall(chunk[:allowed])
                if allowed < len(chunk):
                    break
        _cut(source)
        _cut(target)

    def _allowed(self, direction: str, size: int) -> int:
        with self._lock:
            left = self._left.get(direction)
            if left is None:
                return size
            if size <= left:
                self._left[direction] = left - size
                return size
            self._left = {} if self._once else {direction: 0}
            return left


def _cut(connection: socket.socket) -> None:
    """Closed, so that the other side is reset, and shut down before, so that a thread that reads it wakes up."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def breaking_proxy(endpoint: str) -> Iterator[BreakingProxy]:
    parts = urlsplit(endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = BreakingProxy(listener, (parts.hostname, parts.port))
    threading.Thread(target=proxy.accept, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
