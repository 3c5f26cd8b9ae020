"""The server in this process: the socket that it listens on, and what it leaves alone."""

import asyncio
import gc
import platform
import socket
import time
from pathlib import Path
from weakref import ref

import psutil
import pytest

from glossa import garbage
from glossa.garbage import give_back, seldom_collected
from glossa.serving import CannotListen, listen, serve_until_stopped
from tests.support.served import PATIENCE_S, make_home


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


def test_a_server_has_what_lives_long_collected_seldom(tmp_path: Path) -> None:
    found: list[tuple[int, int]] = []

    async def on_ready(_address: str) -> bool:
        found.append((gc.get_freeze_count(), gc.get_threshold()[2]))
        return False

    before = gc.get_threshold()
    with listen("127.0.0.1", 0) as bound:
        serve_until_stopped(make_home(tmp_path).settings(), bound, on_ready)
    ((frozen, old),) = found
    assert frozen > 100_000
    assert old > 1_000_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_what_is_left_in_a_cycle_goes_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Node:
        own: object

    async def check() -> None:
        async with seldom_collected():
            node = Node()
            node.own = node
            gone = ref(node)
            gc.collect(1)  # so that it counts to what lives long
            del node
            until_s = time.monotonic() + PATIENCE_S
            while gone() is not None:
                assert time.monotonic() < until_s
                await asyncio.sleep(0.01)

    monkeypatch.setattr(garbage, "COLLECTED_EVERY_S", 0.05)
    asyncio.run(check())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free pages")
def test_free_memory_goes_back_although_something_lives_on_above_it() -> None:
    def resident_bytes() -> int:
        return int(psutil.Process().memory_info().rss)

    blocks = [b"x" * 100_000 for _ in range(2_000)]  # each small enough to lie in the heap
    living_on = blocks[::50]
    blocks.clear()
    before = resident_bytes()
    give_back()
    assert before - resident_bytes() > 50_000_000
    assert len(living_on) == 40
