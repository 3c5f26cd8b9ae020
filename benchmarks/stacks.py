"""Ten thousand registered stacks against ten, through the server's engine and its residency, same tokens.

100 languages and 100 tasks by Zipf's law, independently, against 10 languages with a task each. Once with everything
resident, and once with room on the device for a tenth of it, so that adapters come and go all the time.
"""

import asyncio
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
from .engines import Deep, Ranks, asked_row, logits_of, running_server
from .figures import Absolute, Figure
from .rounds import Speeds, ratio
from .shapes import END, SPECIAL_PIECES, START
from .traffic import MOST_TOKENS, Ask, asks, take, tokens_of
from .world import World, make_world

MOST_DRIFT = 0.05
ALL_BYTES = 16 << 30
QUEUED_BATCHES = 3
ALONE_ROWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How many there are. `tokens` is what each side computes in a round."""

    shape: BackboneConfig
    device: str
    dtype: str
    languages: int
    tasks: int
    few: int
    rounds: int
    tokens: int
    batch_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One side: an engine, how many languages and tasks it draws from, and which stack a row gets."""

    deep: Deep
    languages: int
    tasks: int
    ranks: Ranks

    def stream(self, crowd: Crowd) -> Iterator[Ask]:
        """The same piece ids for every side."""
        return asks(
            vocab_size=crowd.shape.vocab_size,
            languages=self.languages,
            tasks=self.tasks,
            seed=crowd.seed,
            most_tokens=min(MOST_TOKENS, crowd.shape.max_tokens),
        )

    async def logits(self, world: World, rows: Sequence[Ask]) -> list[torch.Tensor]:
        _, done = await self.deep.run([asked_row(ask, world, self.ranks(ask)) for ask in rows])
        return [torch.from_numpy(logits) for logits in logits_of(done)]

    async def speed(self, world: World, rows: Sequence[Ask]) -> float:
        """Tokens per second."""
        seconds, _ = await self.deep.run([asked_row(ask, world, self.ranks(ask)) for ask in rows])
        return tokens_of(rows) / seconds


def many_stacks(crowd: Crowd, home: Path, backbone: Path) -> dict[str, Figure]:
    world = make_world(home, backbone, languages=crowd.languages, tasks=crowd.tasks)
    return asyncio.run(_measure(crowd, world))


async def _measure(crowd: Crowd, world: World) -> dict[str, Figure]:
    settings: dict[str, Any] = {"device": crowd.device, "dtype": crowd.dtype, "batch_tokens": crowd.batch_tokens}
    async with running_server(world, adapter_bytes=ALL_BYTES, **settings) as roomy:
        many = _many(crowd, roomy)
        await _load_all(many, world)
        all_bytes = roomy.engine.residency.device.used_bytes
        async with running_server(world, adapter_bytes=max(all_bytes // 10, _least_bytes(world)), **settings) as tight:
            sides = {
                "many": many,
                "few": Contender(deep=many.deep, languages=crowd.few, tasks=1, ranks=_one_task_each),
                "tenth": _many(crowd, tight),
            }
            await _hold(sides, crowd, world)
            speeds = await _races(sides, crowd, world)
    return {
        "stacks_10000_over_10": ratio(speeds, "many", "few"),
        "stacks_10000_tenth_over_10": ratio(speeds, "tenth", "few"),
        "stacks_10000_resident": Absolute(value=round(all_bytes / 2**20, 1), unit="MiB"),
        "stacks_10000_speed": Absolute(value=round(median(speeds["many"]), 1), unit="tokens/s"),
    }


def _many(crowd: Crowd, server: Server) -> Contender:
    deep = Deep(server.engine, queued_tokens=QUEUED_BATCHES * crowd.batch_tokens)
    return Contender(
        deep=deep, languages=crowd.languages, tasks=crowd.tasks, ranks=lambda ask: (ask.language, ask.task)
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


async def _hold(sides: Mapping[str, Contender], crowd: Crowd, world: World) -> None:
    """All sides run the same tokens, and neither neighbours nor evictions change a row's logits."""
    rows = {name: take(side.stream(crowd), crowd.tokens) for name, side in sides.items()}
    ids = {name: [ask.ids for ask in asked] for name, asked in rows.items()}
    if any(ids[name] != ids["many"] for name in sides):
        raise SystemExit("the sides do not run the same tokens")
    sample = rows["many"][:ALONE_ROWS]
    alone = [(await sides["many"].logits(world, [ask]))[0] for ask in sample]
    for name in ("many", "tenth"):
        together = (await sides[name].logits(world, rows[name]))[:ALONE_ROWS]
        found = agreement(together, alone)
        if found.drift > MOST_DRIFT:
            raise SystemExit(f"{name}: a row among others has logits {found.drift:.3f} away from those it has alone")


async def _races(sides: Mapping[str, Contender], crowd: Crowd, world: World) -> Speeds:
    """Every side in turn, the first one a different one each round."""
    speeds: Speeds = {name: [] for name in sides}
    streams = {name: side.stream(crowd) for name, side in sides.items()}
    names = list(sides)
    for number in range(crowd.rounds + 1):
        turn = number % len(names)
        result = {}
        for name in names[turn:] + names[:turn]:
            result[name] = await sides[name].speed(world, take(streams[name], crowd.tokens))
        shown = ", ".join(f"{name} {result[name]:,.0f}" for name in names)
        print(f"{f'round {number}' if number else 'warm-up'}, tokens/s: {shown}", file=sys.stderr)
        if number:
            for name in names:
                speeds[name].append(result[name])
    return speeds
