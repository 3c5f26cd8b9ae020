"""Flows of requests, closed or open, that run beside each other; each leaves a line for every request.

Closed: so many clients, each asking again as soon as it is answered. Open: arrivals by a Poisson process that does not
wait for answers; times count from the moment a request was due, so a server that holds up the generator pays for it.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .connection import Answer, Connection

MOST_CONNECTIONS = 4_000
IDLE_S = 1.0
"""A server closes connections that were idle for some seconds, perhaps just when a request is on its way."""
FIELDS = ("due_s", "seconds", "status", "total_ms", "tokenization_ms", "queue_ms", "inference_ms", "tokens")
"""Of a request's line: when it was due since the flow's start, how long its answer took, and what the answer said."""

Line = tuple[float, float, int, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A closed flow ends after `count` requests or `seconds`, an open one after `seconds`. That comes at its `rate`, or
    has `count` requests, at moments like those of a Poisson process that had so many. `pool` names its requests.

    With `abandon` what is unanswered at the end is given up by closing its connection, without a line.
    """

    name: str
    pool: str
    kind: Literal["closed", "open"]
    clients: int = 0
    count: int = 0
    rate: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    abandon: bool = False


@dataclass(slots=True, kw_only=True)
class Pool:
    """Requests as bytes, asked in their order, over and over."""

    requests: Sequence[bytes]
    _next: int = 0

    def take(self) -> bytes:
        request = self.requests[self._next % len(self.requests)]
        self._next += 1
        return request

    def go_to(self, number: int) -> None:
        """That one is asked next."""
        self._next = number


@dataclass(slots=True, kw_only=True)
class Door:
    """The server's address and the connections to it that nobody uses right now.

    One that was idle for `idle_s` is not used again, so that no request meets its end: what is lost was swallowed.
    """

    host: str
    port: int
    idle_s: float = IDLE_S
    free: list[Connection] = field(default_factory=list)
    opened: int = 0

    async def take(self) -> Connection:
        while self.free:
            connection = self.free.pop()
            if connection.is_open and connection.idle_s < self.idle_s:
                return connection
            self.drop(connection)
        if self.opened >= MOST_CONNECTIONS:
            raise RuntimeError(f"more than {MOST_CONNECTIONS} requests are unanswered")
        self.opened += 1
        return await Connection.open(self.host, self.port)

    def give_back(self, connection: Connection) -> None:
        self.free.append(connection)

    def drop(self, connection: Connection) -> None:
        connection.close()
        self.opened -= 1


async def run(flows: Sequence[Flow], pools: dict[str, Pool], door: Door) -> dict[str, list[Line]]:
    """All flows at the same time -> name -> lines, in the order of the answers.

    Raises `ConnectionError` for a request that the server took and did not answer.
    """
    found = await asyncio.gather(*(_run(flow, pools[flow.pool], door) for flow in flows))
    return {flow.name: lines for flow, lines in zip(flows, found, strict=True)}


async def _run(flow: Flow, pool: Pool, door: Door) -> list[Line]:
    lines: list[Line] = []
    began_s = time.perf_counter()
    tasks = await (_closed if flow.kind == "closed" else _open)(flow, pool, door, began_s, lines)
    if flow.abandon:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    else:
        await asyncio.gather(*tasks)
    return lines


async def _closed(flow: Flow, pool: Pool, door: Door, began_s: float, lines: list[Line]) -> "list[asyncio.Task[None]]":
    numbers = iter(range(flow.count)) if flow.count else None
    clients = [asyncio.create_task(_client(flow, pool, door, began_s, lines, numbers)) for _ in range(flow.clients)]
    if flow.abandon:
        await asyncio.sleep(flow.seconds)
    return clients


async def _client(
    flow: Flow, pool: Pool, door: Door, began_s: float, lines: list[Line], numbers: Iterator[int] | None
) -> None:
    while True:
        is_over = time.perf_counter() - began_s >= flow.seconds if numbers is None else next(numbers, None) is None
        if is_over:
            return
        await _ask(pool.take(), door, began_s, time.perf_counter(), lines)


async def _open(flow: Flow, pool: Pool, door: Door, began_s: float, lines: list[Line]) -> "list[asyncio.Task[None]]":
    tasks: list[asyncio.Task[None]] = []
    for due_s in _moments(flow):
        wait_s = began_s + due_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(_ask(pool.take(), door, began_s, began_s + due_s, lines)))
    return tasks


def _moments(flow: Flow) -> Iterator[float]:
    draw = random.Random(flow.seed)
    if flow.count:
        yield from sorted(draw.uniform(0.0, flow.seconds) for _ in range(flow.count))
        return
    due_s = draw.expovariate(flow.rate)
    while due_s < flow.seconds:
        yield due_s
        due_s += draw.expovariate(flow.rate)


async def _ask(request: bytes, door: Door, began_s: float, due_s: float, lines: list[Line]) -> None:
    lines.append(_line(await _answer(request, door), began_s, due_s))


async def _answer(request: bytes, door: Door) -> Answer:
    connection = await door.take()
    try:
        answer = await connection.ask(request)
    except BaseException:
        door.drop(connection)
        raise
    door.give_back(connection)
    return answer


def _line(answer: Answer, began_s: float, due_s: float) -> Line:
    return (
        round(due_s - began_s, 6),
        round(answer.done_s - due_s, 6),
        answer.status,
        answer.number(b"x-total-time"),
        answer.number(b"x-tokenization-time"),
        answer.number(b"x-queue-time"),
        answer.number(b"x-inference-time"),
        answer.number(b"x-compute-tokens"),
    )
