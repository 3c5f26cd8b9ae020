"""What a slow store costs those who do not need it: p99 of warm traffic while cold adapters load, and while it hangs.

The store speaks S3, 100 ms away and with 5 MB/s for all: a ministack behind a throttle. The warm adapters are on the
device, and each is asked for again within a second or two; clients of their own ask for one cold adapter after the
other, beside a warm one, so that loads never stop. The device has room for a part of the cold ones and there is no
cache on disk, so that they stay cold. Where nothing cold is asked for, as many requests like theirs are, of warm
adapters: what their rows take to compute is no load's cost.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from statistics import median

import torch

from madx.precision import choose_precision

from .asking import Asking, requests_of
from .figures import Absolute, Figure, Ratio
from .load.client import Sent
from .load.flows import Flow
from .servers.object_stores import ministack
from .servers.throttle import Throttle, throttle
from .trials import MANY, SEED, WARM, Arena, Sizes, arena, hold_answered, p99_ms, pools_of, traffic, warming
from .world import World, make_world

LATENCY_S = 0.1
BYTES_PER_S = 5e6
OF_CAPACITY = 0.55
COLD_CLIENTS = 4
WARM_LANGUAGES, WARM_TASKS = 8, 8
"""Few enough that each is asked for again long before it would be let go."""
COLD_LANGUAGES, COLD_TASKS = 4, 32
LEAST_COLD = 0.5
"""Of the cold requests so many find their adapter in the store, or the measurement is none."""
ROOM_FOR_COLD = 0.4
COLD = "cold"
STAND_IN = "stand-in"
"""Requests like the cold ones, but for warm adapters."""
SETTLE_S = 3.0


@dataclass(slots=True, kw_only=True)
class Windows:
    """The warm traffic of each window, by what the cold clients and the store did, and what was loaded."""

    quiet: list[Sent] = field(default_factory=list)
    loading: list[Sent] = field(default_factory=list)
    hung: list[Sent] = field(default_factory=list)
    loads_per_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """Of the latest."""
        quiet, loading, hung = (windows[-1].percentile_ms(99) for windows in (self.quiet, self.loading, self.hung))
        return (
            f"window {len(self.quiet) - 1}: p99 of {len(self.quiet[-1])} warm requests in ms: quiet {quiet:.0f}, "
            f"cold loads {loading:.0f} ({self.loads_per_s[-1]:.1f}/s), hung store {hung:.0f}"
        )


def cold_loads(sizes: Sizes, near: World, folder: Path) -> dict[str, Figure]:
    """Rounds of three windows: cold adapters loading, nothing cold, and a store that hangs. `near` has the backbone."""
    warm = replace(sizes, languages=WARM_LANGUAGES, tasks=WARM_TASKS)
    with ministack(folder / "ministack") as store, throttle(store.endpoint) as proxy:
        with _variables(store.environment):
            world = make_world(
                folder / "home-on-s3",
                near.backbone,
                languages=WARM_LANGUAGES + COLD_LANGUAGES,
                tasks=WARM_TASKS + COLD_TASKS,
                blob_url=store.url,
            )
        variables = dict(store.environment) | {
            "AWS_ENDPOINT_URL": proxy.endpoint,
            "GLOSSA_CACHE_BYTES": "0",
            "GLOSSA_ADAPTER_BYTES": str(_room_bytes(sizes, world)),
        }
        asking = Asking(world, languages=1, tasks=1, seed=SEED + 1)
        pools = {
            WARM: warming(warm, world),
            MANY: traffic(warm, world, count=4 * sizes.requests),
            COLD: requests_of(asking.of(cold_stacks())),
            STAND_IN: requests_of(asking.of([(0, 0)] * len(cold_stacks()))),
        }
        with arena(warm, world, pools, folder, **variables) as opened:
            return _figures(sizes, _windows(sizes, opened, proxy))


def cold_stacks() -> list[tuple[int, int]]:
    """Each has one cold adapter; the other is the warm one that is asked for most. Languages stand among the tasks."""
    tasks = [(0, WARM_TASKS + rank) for rank in range(COLD_TASKS)]
    languages = [(WARM_LANGUAGES + rank, 0) for rank in range(COLD_LANGUAGES)]
    every = COLD_TASKS // COLD_LANGUAGES
    return [
        stack
        for rank, language in enumerate(languages)
        for stack in (language, *tasks[rank * every : (rank + 1) * every])
    ]


def _room_bytes(sizes: Sizes, world: World) -> int:
    """For all warm adapters and some of the cold ones; they are stored in two bytes a number."""
    warm = (*world.languages[:WARM_LANGUAGES], *world.tasks[:WARM_TASKS])
    cold = (*world.languages[WARM_LANGUAGES:], *world.tasks[WARM_TASKS:])
    stored = sum(version.size_bytes for version in warm) + ROOM_FOR_COLD * sum(version.size_bytes for version in cold)
    return int(stored / 2 * choose_precision(sizes.dtype, torch.device(sizes.device)).adapters.itemsize)


def _windows(sizes: Sizes, opened: Arena, proxy: Throttle) -> Windows:
    """As many of each as it takes for `rounds` times `samples` warm requests in a row."""
    rate = OF_CAPACITY * opened.capacity_rps(sizes.requests)
    proxy.slow(latency_s=LATENCY_S, bytes_per_s=BYTES_PER_S)
    windows = Windows()
    while len(pools_of([len(sent) for sent in windows.quiet], sizes.samples)) < sizes.rounds:
        number = len(windows.quiet)
        warm = Flow(name=WARM, pool=MANY, kind="open", rate=rate, seconds=sizes.seconds, seed=SEED + number)
        begin = number * ceil(rate * sizes.seconds)  # the same texts at the same moments in all three
        loading, num_cold, loads = _loading(opened, warm, begin)
        windows.loading.append(loading)
        windows.loads_per_s.append(loads / sizes.seconds)
        beside = Flow(
            name=STAND_IN, pool=STAND_IN, kind="open", count=num_cold, seconds=sizes.seconds, seed=SEED + 1 + number
        )
        windows.quiet.append(_quiet(opened, warm, beside, begin))
        windows.hung.append(_hung(opened, proxy, warm, beside, begin))
        print(windows, file=sys.stderr)
    return windows


def _figures(sizes: Sizes, windows: Windows) -> dict[str, Figure]:
    pools = pools_of([len(sent) for sent in windows.quiet], sizes.samples)
    quiet, loading, hung = (
        [p99_ms(each, pool) for pool in pools] for each in (windows.quiet, windows.loading, windows.hung)
    )
    least = min(sum(len(windows.quiet[number]) for number in pool) for pool in pools)
    return {
        "p99_under_cold_load": Ratio(samples=tuple(zip(loading, quiet, strict=True))),
        "p99_under_hung_store": Ratio(samples=tuple(zip(hung, quiet, strict=True))),
        "p99_warm_ms": Absolute(value=round(median(quiet), 1), unit="ms"),
        "p99_warm_samples": Absolute(value=least, unit="requests at least"),
        "cold_loads_per_s": Absolute(value=round(median(windows.loads_per_s), 2), unit="loads/s"),
    }


def hold_warm(sent: Sent, meanwhile: str) -> None:
    """Ends the run where warm traffic was not: 504 says that an adapter had to come from a store that gave nothing."""
    late = sent.statuses.get(504, 0)
    if late:
        raise SystemExit(
            f"{meanwhile}, {late} of {len(sent)} warm requests were answered with 504: an adapter of theirs had left "
            "the device and was waited for"
        )
    hold_answered(sent)


def _quiet(opened: Arena, warm: Flow, beside: Flow, begin: int) -> Sent:
    found = opened.generator.run(warm, beside, begin={MANY: begin}).flows
    hold_warm(found[WARM], "with nothing cold beside it")
    hold_answered(found[STAND_IN])
    return found[WARM]


def _loading(opened: Arena, warm: Flow, begin: int) -> tuple[Sent, int, float]:
    """Every cold request is answered too, only later. The numbers of them and of loads besides."""
    loads = _loads(opened)
    cold = Flow(name=COLD, pool=COLD, kind="closed", clients=COLD_CLIENTS, seconds=warm.seconds)
    found = opened.generator.run(warm, cold, begin={MANY: begin}).flows
    hold_warm(found[WARM], "while cold adapters were loaded")
    hold_answered(found[COLD])
    loads = _loads(opened) - loads
    if loads < LEAST_COLD * len(found[COLD]):
        raise SystemExit(f"{len(found[COLD])} cold requests took {loads:.0f} loads: the cold adapters are not cold")
    return found[WARM], len(found[COLD]), loads


def _loads(opened: Arena) -> float:
    """From the store, since the server's start."""
    return opened.server.value("glossa_adapter_loads_total", result="ok", source="store")


def _hung(opened: Arena, proxy: Throttle, warm: Flow, beside: Flow, begin: int) -> Sent:
    """Who asks for a cold adapter waits, and gives up when the window is over."""
    cold = Flow(name=COLD, pool=COLD, kind="closed", clients=COLD_CLIENTS, seconds=warm.seconds, abandon=True)
    proxy.hang()
    found = opened.generator.run(warm, beside, cold, begin={MANY: begin}).flows
    proxy.go_on()
    hold_warm(found[WARM], "while the store hung")
    hold_answered(found[STAND_IN])
    if len(found[COLD]) >= COLD_LANGUAGES + COLD_TASKS:
        raise SystemExit("the store hangs, and cold adapters are served all the same")
    time.sleep(SETTLE_S)
    return found[WARM]


@contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    """In this process's environment, which is where the store's client looks."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
