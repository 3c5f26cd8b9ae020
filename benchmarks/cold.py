"""What a slow store costs those who do not need it: p99 of warm traffic while cold adapters load, and while it hangs.

The store speaks S3, 100 ms away and with 5 MB/s for all: a ministack behind a throttle. The warm adapters are on the
device; clients of their own ask for one cold adapter after the other, so that loads never stop. The device has room
for a part of the cold ones and there is no cache on disk, so that they stay cold.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from madx.precision import choose_precision
from tests.support.object_stores import ministack

from .asking import Asking, requests_of
from .figures import Absolute, Figure, Ratio
from .load.flows import Flow
from .servers.throttle import Throttle, throttle
from .trials import MANY, SEED, WARM, Arena, Sizes, arena, hold_answered, traffic, warming
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
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """p99 of warm traffic in its three windows."""

    quiet_ms: float
    loading_ms: float
    hung_ms: float

    def __str__(self) -> str:
        return f"quiet {self.quiet_ms:.0f}, cold loads {self.loading_ms:.0f}, hung store {self.hung_ms:.0f}"


def cold_loads(sizes: Sizes, near: World, folder: Path) -> dict[str, Figure]:
    """Rounds of three windows: nothing cold, cold adapters loading, and a store that hangs. `near` has the backbone."""
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
        cold = Asking(world, languages=1, tasks=1, seed=SEED + 1).each(
            languages=range(WARM_LANGUAGES, WARM_LANGUAGES + COLD_LANGUAGES),
            tasks=range(WARM_TASKS, WARM_TASKS + COLD_TASKS),
        )
        pools = {
            WARM: warming(warm, world),
            MANY: traffic(warm, world, count=4 * sizes.requests),
            COLD: requests_of(cold),
        }
        with arena(warm, world, pools, folder, **variables) as opened:
            return _windows(sizes, opened, proxy, least_bytes=world.tasks[0].size_bytes)


def _room_bytes(sizes: Sizes, world: World) -> int:
    """For all warm adapters and some of the cold ones; they are stored in two bytes a number."""
    warm = (*world.languages[:WARM_LANGUAGES], *world.tasks[:WARM_TASKS])
    cold = (*world.languages[WARM_LANGUAGES:], *world.tasks[WARM_TASKS:])
    stored = sum(version.size_bytes for version in warm) + ROOM_FOR_COLD * sum(version.size_bytes for version in cold)
    return int(stored / 2 * choose_precision(sizes.dtype, torch.device(sizes.device)).adapters.itemsize)


def _windows(sizes: Sizes, opened: Arena, proxy: Throttle, *, least_bytes: int) -> dict[str, Figure]:
    rate = OF_CAPACITY * opened.capacity_rps(sizes.requests)
    proxy.slow(latency_s=LATENCY_S, bytes_per_s=BYTES_PER_S)
    rounds: list[Round] = []
    for number in range(sizes.rounds + 1):
        warm = Flow(name=WARM, pool=MANY, kind="open", rate=rate, seconds=sizes.seconds, seed=SEED + number)
        found = Round(
            quiet_ms=_quiet(opened, warm),
            loading_ms=_loading(opened, proxy, warm, least_bytes=least_bytes),
            hung_ms=_hung(opened, proxy, warm),
        )
        print(f"{f'round {number}' if number else 'warm-up'}, p99 in ms: {found}", file=sys.stderr)
        rounds.append(found)
    counted = rounds[1:]
    return {
        "p99_under_cold_load": Ratio(samples=tuple((each.loading_ms, each.quiet_ms) for each in counted)),
        "p99_under_hung_store": Ratio(samples=tuple((each.hung_ms, each.quiet_ms) for each in counted)),
        "p99_warm_ms": Absolute(value=round(median(each.quiet_ms for each in counted), 1), unit="ms"),
    }


def _quiet(opened: Arena, warm: Flow) -> float:
    sent = opened.generator.run(warm).flows[WARM]
    hold_answered(sent)
    return sent.percentile_ms(99)


def _loading(opened: Arena, proxy: Throttle, warm: Flow, *, least_bytes: int) -> float:
    """Every cold request is answered too, only later."""
    passed_bytes = proxy.passed_bytes
    cold = Flow(name=COLD, pool=COLD, kind="closed", clients=COLD_CLIENTS, seconds=warm.seconds)
    found = opened.generator.run(warm, cold).flows
    hold_answered(found[WARM])
    hold_answered(found[COLD])
    if proxy.passed_bytes - passed_bytes < LEAST_COLD * len(found[COLD]) * least_bytes:
        raise SystemExit("the store was hardly read: the cold adapters are not cold")
    return found[WARM].percentile_ms(99)


def _hung(opened: Arena, proxy: Throttle, warm: Flow) -> float:
    """Who asks for a cold adapter waits, and gives up when the window is over."""
    cold = Flow(name=COLD, pool=COLD, kind="closed", clients=COLD_CLIENTS, seconds=warm.seconds, abandon=True)
    proxy.hang()
    found = opened.generator.run(warm, cold).flows
    proxy.go_on()
    hold_answered(found[WARM])
    if len(found[COLD]) >= COLD_LANGUAGES + COLD_TASKS:
        raise SystemExit("the store hangs, and cold adapters are served all the same")
    time.sleep(SETTLE_S)
    return found[WARM].percentile_ms(99)


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
