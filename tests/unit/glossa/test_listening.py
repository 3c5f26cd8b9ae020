"""The socket that `glossa serve` listens on."""

import asyncio
import socket

import pytest

from glossa.serving import CannotListen, listen


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
