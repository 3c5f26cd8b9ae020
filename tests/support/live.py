"""A server on a loopback port of its own, in a thread of this process, and raw connections to it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from glossa.serving import StoppingServer, address_of, http_config, listen
from service.app import create_app

from .served import PATIENCE_S, Home


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveServer:
    """`app.state.server` is the running one."""

    address: str
    port: int
    app: Any
    server: uvicorn.Server

    def stop(self) -> None:
        """Ask it to; it ends what runs."""
        self.server.should_exit = True

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)


@contextmanager
def serving(home: Home, **settings: Any) -> Iterator[LiveServer]:
    app = create_app(home.settings(**settings))
    with listen("127.0.0.1", 0) as bound:
        config = http_config(app, log_level="error")
        server = StoppingServer(config, app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="live server")
        thread.start()
        try:
            _wait_for(server, thread)
            yield LiveServer(address=address_of(bound), port=bound.getsockname()[1], app=app, server=server)
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def _wait_for(server: uvicorn.Server, thread: threading.Thread) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < until_s, "the server takes too long to start"
        time.sleep(0.01)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """Status and the rest of what comes until the server closes, of the first answer that is no 100 Continue."""
    content = b""
    while chunk := _received(connection):
        content += chunk
    while content.startswith(b"HTTP/1.1 100"):
        content = content.partition(b"\r\n\r\n")[2]
    head, _, body = content.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), content[:200]
    return int(head[9:12]), body


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""
