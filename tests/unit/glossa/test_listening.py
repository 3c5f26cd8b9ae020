"""The server in this process: the socket that it listens on, and what it leaves alone."""

import asyncio
import gc
import socket
from pathlib import Path

import pytest

from glossa.serving import CannotListen, listen, serve_until_stopped
from tests.support.served import make_home


def test_answers_leave_at_once() -> None:
    """An answer's head and body are written one after the other; neither may wait for the other's acknowledgement."""

    async def options() -> int:
        seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raw = writer.get_extra_info("socket")
            seen.set_result(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as bound:
            async with await asyncio.start_server(accepted, sock=bound):
                _, writer = await asyncio.open_connection(*bound.getsockname())
                found = await asyncio.wait_for(seen, 30)
                writer.close()
                await writer.wait_closed()
        return found

    assert asyncio.run(options()) == 1


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as bound:
        bound.listen()
        with pytest.raises(CannotListen, match="choose another --port"):
            listen("127.0.0.1", bound.getsockname()[1])


def test_what_the_libraries_hold_is_not_collected_again(tmp_path: Path) -> None:
    frozen: list[int] = []

    async def on_ready(_address: str) -> bool:
        frozen.append(gc.get_freeze_count())
        return False

    with listen("127.0.0.1", 0) as bound:
        try:
            serve_until_stopped(make_home(tmp_path).settings(), bound, on_ready)
        finally:
            gc.unfreeze()
    assert frozen[0] > 100_000
