"""The server in this process: uvicorn around the service's app.

The app's lifespan is entered here and not by uvicorn, which would turn a domain error into a traceback.
"""

import asyncio
import contextlib
import math
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from madx.errors import GlossaError
from registry.access import has_usable_key
from registry.registry import Registry
from service.access import is_loopback
from service.app import create_app
from service.door import Door
from service.settings import Settings

from .garbage import seldom_collected
from .http_protocol import BoundedHttp

OnReady = Callable[[str], Awaitable[bool]]
_CLOSING_S = 5.0
_LOOKED_EVERY_S = 0.1


class NoKeysYet(GlossaError):
    """A server that would ask for keys, on a registry that has none."""

    code = "no_keys_yet"


class NotLoopback(GlossaError):
    """A server that is to ask for no keys because it is bound to loopback, and is not."""

    code = "not_loopback"


class CannotListen(GlossaError):
    """An address that is taken or not this machine's."""

    code = "cannot_listen"


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; `port` 0 takes a free one. Raises `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio send small pieces at once (TCP_NODELAY): an answer's head and body
    # are two, and the second would wait 40 ms for the client to have confirmed the first.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from error
    except TypeError as error:  # what `bind` raises for a name that is no Unicode
        bound.close()
        raise CannotListen(f"{host!r} is no host name; choose another --host") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL under which this machine reaches the socket."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_until_stopped(settings: Settings, bound: socket.socket, on_ready: OnReady) -> None:
    """Serve on `bound`; `on_ready` gets the address, and says whether to go on serving.

    Raises what the app's lifespan raises, and `KeyboardInterrupt` after a clean end by Ctrl-C.
    """
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(settings, bound, on_ready))


async def _serve(settings: Settings, bound: socket.socket, on_ready: OnReady) -> None:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    app = create_app(settings)
    async with app.router.lifespan_context(app), _running(app, bound) as (server, running), seldom_collected():
        # uvicorn takes both signals while it runs, ends cleanly, and raises them again; the loop hears of them besides.
        loop.add_signal_handler(signal.SIGTERM, server.stop)
        if await on_ready(address_of(bound)):
            await running
        else:
            server.stop()


class StoppingServer(uvicorn.Server):
    """Before it closes its connections it tells that it stops, and answers what it has accepted.

    Meanwhile it takes connections: who asks whether it is ready, or for an answer, is told to go elsewhere. An upload
    would wait for its client, so it ends at once. A second Ctrl-C ends everything at once.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def stop(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        server = self._app.state.server
        server.intake.stop()
        until_s = time.monotonic() + server.settings.drain_s
        await self._unless_forced(server.engine.drain(server.settings.drain_s))
        # What is left are clients that are slow to take their answers.
        self.config.timeout_graceful_shutdown = math.ceil(max(_CLOSING_S, until_s - time.monotonic()))
        await super().shutdown(sockets)

    async def _unless_forced(self, draining: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(draining)
        while not task.done() and not self.force_exit:
            await asyncio.wait((task,), timeout=_LOOKED_EVERY_S)
        task.cancel()


def http_config(app: FastAPI, **options: Any) -> uvicorn.Config:
    """How uvicorn serves the app, wherever it does."""
    http = partial(BoundedHttp, refusal=Door(app).refusal)
    return uvicorn.Config(app, http=http, access_log=False, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def _running(app: FastAPI, bound: socket.socket) -> AsyncIterator[tuple[StoppingServer, "asyncio.Task[None]"]]:
    config = http_config(app, lifespan="off", log_config=None)
    server = StoppingServer(config, app)
    # From here on connections are taken; uvicorn answers them as soon as it runs.
    bound.listen(config.backlog)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield server, running
    finally:
        server.stop()
        await running


def with_keys(settings: Settings, host: str) -> Settings:
    """Whether keys are asked for on `host`, where the settings leave that open. Raises `NotLoopback`."""
    if settings.keys == "loopback" and not is_loopback(host):
        raise NotLoopback(
            f"others may reach {host}; leave --keys and GLOSSA_KEYS at auto to ask for keys, or set them to off to "
            "let everybody in"
        )
    if settings.keys != "auto":
        return settings
    return settings.model_copy(update={"keys": "loopback" if is_loopback(host) else "required"})


def check_keys(settings: Settings, registry: Registry) -> None:
    """Raises `NoKeysYet` where nobody could use the server."""
    if settings.keys == "required" and not has_usable_key(registry):
        raise NoKeysYet(
            "the server would ask for keys, and there are none; make one with "
            "`glossa keys create NAME --role write`, or set --keys off to let everybody in who reaches it"
        )
