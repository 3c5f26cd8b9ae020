"""Ten thousand registered stacks against ten, through the server's engine and its residency, same tokens.

100 languages and 100 tasks by Zipf's law, independently, against 10 languages with a task each. Once with everything
resident, and once with room on the device for a tenth of it, so that adapters come and go all the time; there no more
rows wait at once than have room for their adapters, and the run ends where the device holds more than its limit.
"""

import asyncio
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from madx.config import BackboneConfig
from service.state import Server

from .agreement import agreement
from .comparing import hold_drift
from .engines import Deep, Ranks, asked_row, logits_of, running_server
from .figures import Absolute, Figure
from .rounds import Speeds, ratio
from .served import Dtype, precision_of
from .shapes import END, SPECIAL_PIECES, START
from .traffic import MOST_TOKENS, Ask, asks, take, tokens_of
from .world import World, make_world

ALL_BYTES = 16 << 30
QUEUED_BATCHES = 3
ALONE_ROWS = 16
OF_ROOM = 0.8
"""Of the device's limit so much is wanted at once: what is coming needs a place before what is going has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyStacks:
    """How many there are. `tokens` is what each side computes in a round, `batch_tokens` GLOSSA_BATCH_TOKENS."""

    shape: BackboneConfig
    device: str
    dtype: Dtype
    languages: int
    tasks: int
    few: int
    rounds: int
    tokens: int
    batch_tokens: int | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side: an engine, how many languages and tasks it draws from, and which stack a row gets."""

    deep: Deep
    languages: int
    tasks: int
    ranks: Ranks

    def stream(self, contest: ManyStacks) -> Iterator[Ask]:
        """The same piece ids for every side."""
        return asks(
            vocab_size=contest.shape.vocab_size,
            languages=self.languages,
            tasks=self.tasks,
            seed=contest.seed,
            most_tokens=min(MOST_TOKENS, contest.shape.max_tokens),
        )

    async def logits(self, world: World, rows: Sequence[Ask]) -> list[torch.Tensor]:
        _, done = await self.deep.run([asked_row(ask, world, self.ranks(ask)) for ask in rows])
        return [torch.from_numpy(logits) for logits in logits_of(done)]

    async def speed(self, world: World, rows: Sequence[Ask]) -> float:
        """Tokens per second."""
        seconds, _ = await self.deep.run([asked_row(ask, world, self.ranks(ask)) for ask in rows])
        return tokens_of(rows) / seconds


def many_stacks(contest: ManyStacks, home: Path, backbone: Path) -> dict[str, Figure]:
    world = make_world(home, backbone, languages=contest.languages, tasks=contest.tasks)
    return asyncio.run(_measure(contest, world))


async def _measure(contest: ManyStacks, world: World) -> dict[str, Figure]:
    settings: dict[str, Any] = {"device": contest.device, "dtype": contest.dtype}
    if contest.batch_tokens is not None:
        settings["batch_tokens"] = contest.batch_tokens
    stored_bytes = sum(version.size_bytes for version in (*world.languages, *world.tasks))
    async with running_server(world, adapter_bytes=ALL_BYTES, **settings) as roomy:
        many = _many(contest, roomy)
        await _load_all(many, world)
        all_bytes = roomy.engine.residency.device.used_bytes
        part = max(0.1, _least_bytes(world) / stored_bytes)
        async with running_server(world, adapter_bytes=math.ceil(part * all_bytes), **settings) as tight:
            sides = {
                "many": many,
                "few": Contender(deep=many.deep, languages=contest.few, tasks=1, ranks=_one_task_each),
                "tenth": _many(contest, tight, queued_bytes=OF_ROOM * part * stored_bytes),
            }
            await _hold(sides, contest, world)
            before = _Moves.of(tight)
            speeds = await _races(sides, contest, world, tight)
            moves = _Moves.of(tight)
    rounds = contest.rounds + 1
    return {
        "stacks_10000_over_10": ratio(speeds, "many", "few"),
        "stacks_10000_tenth_over_10": ratio(speeds, "tenth", "few"),
        "stacks_10000_resident": Absolute(value=round(all_bytes / 2**20, 1), unit="MiB"),
        f"stacks_10000_speed_{precision_of(contest.dtype, contest.device)}": Absolute(
            value=round(median(speeds["many"]), 1), unit="tokens/s"
        ),
        "stacks_10000_tenth_loads": Absolute(value=round((moves.loads - before.loads) / rounds, 1), unit="a round"),
        "stacks_10000_tenth_overcommits": Absolute(
            value=round((moves.overcommits - before.overcommits) / rounds, 1), unit="a round"
        ),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moves:
    """What came to a server's device since its start, and how often that went beyond its limit."""

    loads: float
    overcommits: float

    @classmethod
    def of(cls, server: Server) -> "_Moves":
        sources = ("store", "disk", "host")
        loads = (server.metrics.value("glossa_adapter_loads_total", result="ok", source=source) for source in sources)
        overcommits = server.metrics.value("glossa_adapter_overcommits_total")
        return cls(loads=sum(count or 0.0 for count in loads), overcommits=overcommits or 0.0)


def _many(contest: ManyStacks, server: Server, *, queued_bytes: float = math.inf) -> Contender:
    batch_tokens = min(server.engine.costs.within(server.settings.batch_s), server.settings.batch_tokens)
    deep = Deep(server.engine, queued_tokens=QUEUED_BATCHES * batch_tokens, queued_bytes=queued_bytes)
    return Contender(
        deep=deep, languages=contest.languages, tasks=contest.tasks, ranks=lambda ask: (ask.language, ask.task)
    )


def _one_task_each(ask: Ask) -> tuple[int, int]:
    return ask.language, ask.language


def _least_bytes(world: World) -> int:
    """Room for three stacks: less than that serves nobody."""
    return 3 * (world.languages[0].size_bytes + world.tasks[0].size_bytes)


async def _load_all(many: Contender, world: World) -> None:
    """A short row for every adapter."""
    count = max(many.languages, many.tasks)
    rows = [
        Ask(number=rank, ids=(START, SPECIAL_PIECES, END), language=rank % many.languages, task=rank % many.tasks)
        for rank in range(count)
    ]
    await many.deep.run([asked_row(ask, world, many.ranks(ask)) for ask in rows])


async def _hold(sides: Mapping[str, Contender], contest: ManyStacks, world: World) -> None:
    """All sides run the same tokens, and neither neighbours nor evictions change a row's logits."""
    rows = {name: take(side.stream(contest), contest.tokens) for name, side in sides.items()}
    ids = {name: [ask.ids for ask in asked] for name, asked in rows.items()}
    if any(ids[name] != ids["many"] for name in sides):
        raise SystemExit("the sides do not run the same tokens")
    sample = rows["many"][-ALONE_ROWS:]  # what ran last, after most evictions
    alone = [(await sides["many"].logits(world, [ask]))[0] for ask in sample]
    for name in ("many", "tenth"):
        together = (await sides[name].logits(world, rows[name]))[-ALONE_ROWS:]
        hold_drift(f"{name}, a row among others and alone", agreement(together, alone).drift)


async def _races(sides: Mapping[str, Contender], contest: ManyStacks, world: World, tight: Server) -> Speeds:
    """Every side in turn, the first one a different one each round."""
    device = tight.engine.residency.device
    speeds: Speeds = {name: [] for name in sides}
    streams = {name: side.stream(contest) for name, side in sides.items()}
    names = list(sides)
    for number in range(contest.rounds + 1):
        turn = number % len(names)
        result = {}
        for name in names[turn:] + names[:turn]:
            result[name] = await sides[name].speed(world, take(streams[name], contest.tokens))
        if device.used_bytes > device.limit_bytes:
            raise SystemExit(
                f"the device holds {device.used_bytes} bytes of adapters, its limit is {device.limit_bytes}"
            )
        shown = ", ".join(f"{name} {result[name]:,.0f}" for name in names)
        print(f"{f'round {number}' if number else 'warm-up'}, tokens/s: {shown}", file=sys.stderr)
        if number:
            for name in names:
                speeds[name].append(result[name])
    return speeds
