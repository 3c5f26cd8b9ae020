"""The load generator against a small server of the test's own: what it sends, counts, waits for and gives up."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from benchmarks.load.client import Sent
from benchmarks.load.flows import FIELDS, IDLE_S, Door, Flow, Line, Pool, run
from benchmarks.load.generator import prepared
from benchmarks.overload import REFUSED, goodput, steady_from_s
from benchmarks.trials import hold_answered

Reply = Callable[[bytes], Awaitable[bytes]]


def answer(status: int = 200, tokens: int = 7, body: bytes = b"[]") -> bytes:
    timings = f"X-Total-Time: 2.50\r\nx-compute-tokens: {tokens}\r\n"
    return f"HTTP/1.1 {status} Any\r\n{timings}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Server:
    """Answers each request by `reply`; counts connections and requests under way."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.connections = 0
        self.bodies: list[bytes] = []
        self.most_at_once = 0
        self._at_once = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                reply = await self._reply(self.bodies[-1])
                self._at_once -= 1
                writer.write(reply)
                if not reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Server, *, idle_s: float = IDLE_S) -> AsyncIterator[Door]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    door = Door(host=host, port=port, idle_s=idle_s)
    try:
        yield door
    finally:
        for connection in door.free:
            connection.close()
        listener.close()


def pool(count: int) -> Pool:
    return Pool(requests=[prepared({"path": "/", "body": f"text {number}"}, "here") for number in range(count)])


def of(lines: list[Line]) -> Sent:
    return Sent(table=np.array(lines).reshape(-1, len(FIELDS)))


def run_against(reply: Reply, *flows: Flow, size: int = 5, idle_s: float = IDLE_S) -> tuple[Server, dict[str, Sent]]:
    server = Server(reply)

    async def all_of_it() -> dict[str, list[Line]]:
        async with listening(server, idle_s=idle_s) as door:
            return await run(flows, {"pool": pool(size)}, door)

    return server, {name: of(lines) for name, lines in asyncio.run(all_of_it()).items()}


async def soon(_body: bytes) -> bytes:
    await asyncio.sleep(0.002)
    return answer()


def test_a_closed_flow_keeps_its_clients_busy_and_asks_in_order() -> None:
    server, found = run_against(soon, Flow(name="a", pool="pool", kind="closed", clients=3, count=10))
    assert server.bodies == [f"text {number % 5}".encode() for number in range(10)]
    assert (server.most_at_once, server.connections) == (3, 3)
    assert found["a"].statuses == {200: 10}
    assert found["a"].tokens == 70
    assert set(found["a"].column("total_ms")) == {2.5}
    assert (found["a"].column("seconds") >= 0.002).all()


def test_an_open_flow_does_not_wait_for_answers() -> None:
    flow = Flow(name="a", pool="pool", kind="open", rate=200, seconds=0.2, seed=1)
    draw = random.Random(flow.seed)
    count = sum(due_s < flow.seconds for due_s in itertools.accumulate(draw.expovariate(flow.rate) for _ in range(200)))
    left, all_here = itertools.count(count - 1, -1), asyncio.Event()

    async def not_before_all_are_here(_body: bytes) -> bytes:
        if next(left) == 0:
            all_here.set()
        await all_here.wait()
        return answer()

    server, found = run_against(not_before_all_are_here, flow)
    assert server.most_at_once == len(found["a"]) == count > 20
    assert (np.diff(np.sort(found["a"].column("due_s"))) > 0).all()


def test_the_same_seed_makes_the_same_arrivals() -> None:
    flow = Flow(name="a", pool="pool", kind="open", rate=300, seconds=0.1, seed=4)
    due = [sorted(run_against(soon, flow)[1]["a"].column("due_s")) for _ in range(2)]
    assert due[0] == pytest.approx(due[1], abs=1e-6)


def test_flows_run_beside_each_other() -> None:
    flows = [
        Flow(name=name, pool="pool", kind="closed", clients=1, count=count) for name, count in (("a", 4), ("b", 6))
    ]
    server, found = run_against(soon, *flows)
    assert {name: len(sent) for name, sent in found.items()} == {"a": 4, "b": 6}
    assert server.most_at_once == 2


def test_what_hangs_is_given_up_without_a_line() -> None:
    numbers = itertools.count()

    async def hangs_after_three(_body: bytes) -> bytes:
        if next(numbers) >= 3:
            await asyncio.Event().wait()
        return answer()

    flow = Flow(name="a", pool="pool", kind="closed", clients=2, seconds=0.2, abandon=True)
    server, found = run_against(hangs_after_three, flow)
    assert len(found["a"]) == 3
    assert len(server.bodies) == 5


def test_statuses_are_told_apart() -> None:
    numbers = itertools.count()

    async def every_other(_body: bytes) -> bytes:
        return answer(200) if next(numbers) % 2 else answer(429, tokens=0)

    _, found = run_against(every_other, Flow(name="a", pool="pool", kind="closed", clients=1, count=6))
    assert found["a"].statuses == {200: 3, 429: 3}
    assert len(found["a"].only(429)) == 3
    hold_answered(found["a"], 6, also=(429,))
    with pytest.raises(SystemExit, match="429: 3"):
        hold_answered(found["a"], 6)
    with pytest.raises(SystemExit, match="of 7 requests 6"):
        hold_answered(found["a"], 7, also=(429,))


def test_a_connection_that_was_idle_is_not_used_again() -> None:
    flow = Flow(name="a", pool="pool", kind="closed", clients=1, count=4)
    server, found = run_against(soon, flow, idle_s=0.0)
    assert found["a"].statuses == {200: 4}
    assert server.connections == 4


def test_a_request_that_the_server_swallowed_ends_the_flow() -> None:
    numbers = itertools.count()

    async def swallows_the_third(_body: bytes) -> bytes:
        return b"" if next(numbers) == 2 else answer()

    with pytest.raises(ConnectionError):
        run_against(swallows_the_third, Flow(name="a", pool="pool", kind="closed", clients=1, count=4))


def test_a_server_that_answers_nothing_ends_the_flow() -> None:
    async def nothing(_body: bytes) -> bytes:
        return b""

    with pytest.raises(ConnectionError):
        run_against(nothing, Flow(name="a", pool="pool", kind="closed", clients=1, count=1))


def test_keys_go_into_the_request() -> None:
    assert b"\r\nauthorization: Bearer secret\r\n" in prepared({"path": "/", "body": "", "key": "secret"}, "here")
    assert b"authorization" not in prepared({"path": "/", "body": ""}, "here")


def line(done_s: float, status: int, tokens: int) -> Line:
    return (0.0, done_s, status, 0.0, 0.0, 0.0, 0.0, tokens)


def test_goodput_counts_what_is_answered_in_its_time() -> None:
    early, good, late = line(0.5, 200, 1000), line(5.0, 200, 90), line(11.0, 200, 1000)
    assert goodput(of([early, good, late, line(5.0, 429, 1000)]), 1.0, 10.0) == pytest.approx(10.0)


def test_at_five_times_the_capacity_the_queue_is_full_after_a_quarter_of_its_time() -> None:
    assert steady_from_s(10.0) == pytest.approx(12.5)


def test_a_server_that_died_in_the_flood_ends_the_run() -> None:
    hold_answered(of([line(1.0, 200, 1), line(2.0, 429, 0), line(3.0, 504, 0)]), also=REFUSED)
    with pytest.raises(SystemExit, match="503: 1"):
        hold_answered(of([line(1.0, 200, 1), line(2.0, 503, 0)]), also=REFUSED)
