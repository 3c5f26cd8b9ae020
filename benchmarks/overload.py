"""More than a server can take: five times its capacity from everybody, and from one key beside another."""

import sys
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np

from registry.access import create_key
from registry.registry import open_registry

from .figures import Absolute, Figure, Ratio
from .load.client import Sent
from .load.flows import Flow
from .trials import (
    MANY,
    SEED,
    WARM,
    Arena,
    Sizes,
    arena,
    hold_answered,
    p99_ms,
    pools_of,
    rps_of,
    traffic,
    warming,
)
from .world import World

TIMES_CAPACITY = 5.0
VICTIM_OF_CAPACITY = 0.25
REFUSED = (429, 504)


def overload(sizes: Sizes, world: World, folder: Path) -> dict[str, Figure]:
    """Goodput in one flood of five times the capacity, window by window, over closed rounds before and after it.

    A flood as long goes before: what the first one allocates is kept for the next.
    """
    pools = {WARM: warming(sizes, world), MANY: traffic(sizes, world, count=8 * sizes.requests)}
    steady_s = steady_from_s(sizes.whole_queue_s)
    with arena(sizes, world, pools, folder) as opened:
        capacity_rps = opened.capacity_rps(sizes.requests)
        _flood(opened, TIMES_CAPACITY * capacity_rps, seconds=sizes.overload_s, seed=SEED)
        before, before_mib = opened.closed(sizes.requests), opened.server.memory_mib
        rate = TIMES_CAPACITY * max(capacity_rps, rps_of(before))
        flood = _flood(opened, rate, seconds=sizes.overload_s, seed=SEED + 1)
        after, after_mib = opened.closed(sizes.requests), opened.server.memory_mib
    peak = (before.tokens_per_s + after.tokens_per_s) / 2
    times = rate * (before.tokens + after.tokens) / (len(before) + len(after)) / peak
    if times < sizes.least_overload:
        raise SystemExit(f"the flood was {times:.1f} times the capacity, not {TIMES_CAPACITY:.0f}: measure again")
    refused = flood.only(429).column("seconds")
    if not len(refused):
        raise SystemExit("nothing was refused: the flood was none")
    edges = np.linspace(steady_s, sizes.overload_s, sizes.rounds + 1).tolist()
    samples = [(goodput(flood, begin_s, end_s), peak) for begin_s, end_s in pairwise(edges)]
    return {
        "overload_goodput": Ratio(samples=tuple(samples)),
        "reject_p99_ms": Absolute(value=round(1e3 * float(np.percentile(refused, 99)), 2), unit="ms"),
        "overload_memory_growth_mib": Absolute(value=round(after_mib - before_mib, 1), unit="MiB"),
        "overload_offered": Absolute(value=round(times, 2), unit="times the capacity"),
    }


def steady_from_s(queue_s: float) -> float:
    """At five times the capacity a queue of `queue_s` is full after a quarter of that; who comes then waits it out."""
    return queue_s / (TIMES_CAPACITY - 1) + queue_s


def goodput(flood: Sent, begin_s: float, end_s: float) -> float:
    """Tokens per second of what was answered with 200 in that time."""
    answered = flood.only(200)
    within = (answered.done_s >= begin_s) & (answered.done_s < end_s)
    return float(answered.column("tokens")[within].sum()) / (end_s - begin_s)


def _flood(opened: Arena, rate: float, *, seconds: float, seed: int) -> Sent:
    """Everything is answered or refused; to its end, when the queue is empty again."""
    offered = opened.generator.run(Flow(name="flood", pool=MANY, kind="open", rate=rate, seconds=seconds, seed=seed))
    flood = offered.flows["flood"]
    hold_answered(flood, also=REFUSED)
    print(
        f"a flood of {rate:.0f} requests/s for {seconds:.0f} s: answers {flood.statuses}, "
        f"the generator took {offered.processor_share:.2f} of a core",
        file=sys.stderr,
    )
    return flood


def victim(sizes: Sizes, world: World, folder: Path) -> dict[str, Figure]:
    """p99 of a key at half its share, beside one at ten times its share, over its p99 alone. A share is half of all."""
    modest, greedy = (_key(world, name) for name in ("modest", "greedy"))
    pools = {
        WARM: warming(sizes, world, key=modest),
        MANY: traffic(sizes, world, count=4 * sizes.requests, key=modest),
        "greedy": traffic(sizes, world, count=8 * sizes.requests, seed=SEED + 1, key=greedy),
    }
    alone: list[Sent] = []
    beside: list[Sent] = []
    with arena(sizes, world, pools, folder, GLOSSA_KEYS="required") as opened:
        rps = opened.capacity_rps(sizes.requests)
        while len(found := pools_of([len(window) for window in alone], sizes.samples)) < sizes.rounds:
            number = len(alone)
            flood = Flow(
                name="greedy", pool="greedy", kind="open", rate=TIMES_CAPACITY * rps, seconds=sizes.seconds, seed=number
            )
            alone.append(_victim(opened, sizes, VICTIM_OF_CAPACITY * rps, number=number))
            beside.append(_victim(opened, sizes, VICTIM_OF_CAPACITY * rps, flood, number=number))
            print(
                f"window {number}: p99 of {len(alone[-1])} requests {beside[-1].percentile_ms(99):.0f} ms beside the "
                f"greedy key, {alone[-1].percentile_ms(99):.0f} ms alone",
                file=sys.stderr,
            )
    return {
        "victim_p99_ratio": Ratio(samples=tuple((p99_ms(beside, pool), p99_ms(alone, pool)) for pool in found)),
        "victim_p99_samples": Absolute(
            value=min(sum(len(alone[number]) for number in pool) for pool in found), unit="requests at least"
        ),
    }


def _victim(opened: Arena, sizes: Sizes, rate: float, *beside: Flow, number: int) -> Sent:
    """Its window of that number, which asks the same at the same moments whatever runs beside it; none is refused."""
    modest = Flow(name="modest", pool=MANY, kind="open", rate=rate, seconds=sizes.seconds, seed=SEED + number)
    begin = number * ceil(rate * sizes.seconds)
    found = opened.generator.run(modest, *beside, begin={MANY: begin}).flows
    hold_answered(found["modest"])
    for flow in beside:
        hold_answered(found[flow.name], also=REFUSED)
    return found["modest"]


def _key(world: World, name: str) -> str:
    registry = open_registry(world.home, blob_url=world.blob_url)
    try:
        return create_key(registry, name=name, role="predict")[1]
    finally:
        registry.close()
