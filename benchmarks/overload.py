"""More than a server can take: five times its capacity from everybody, and from one key beside another."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from registry.access import create_key
from registry.registry import open_registry

from .figures import Absolute, Figure, Ratio
from .load.client import Sent
from .load.flows import Flow
from .trials import MANY, SEED, WARM, Arena, Sizes, arena, hold_answered, traffic, warming
from .world import World

TIMES_CAPACITY = 5.0
VICTIM_OF_CAPACITY = 0.25
FULL_AFTER = 0.1
REFUSED = (429, 503, 504)


def overload(sizes: Sizes, world: World, folder: Path) -> dict[str, Figure]:
    """Goodput in an open flow of five times the capacity, over the closed rounds beside it."""
    pools = {WARM: warming(sizes, world), MANY: traffic(sizes, world, count=8 * sizes.requests)}
    samples: list[tuple[float, float]] = []
    refusals: list[npt.NDArray[np.float64]] = []
    with arena(sizes, world, pools, folder) as opened:
        rate = TIMES_CAPACITY * opened.capacity_rps(sizes.requests)
        before_mib = 0.0
        for number in range(sizes.rounds + 1):
            peak = opened.closed(sizes.requests)
            offered = opened.generator.run(
                Flow(
                    name="flood",
                    pool=MANY,
                    kind="open",
                    rate=rate,
                    seconds=sizes.overload_s / sizes.rounds,
                    seed=SEED + number,
                )
            )
            flood = offered.flows["flood"]
            hold_answered(flood, also=REFUSED)
            if number == 0:  # what the first flood allocates is kept for the next
                before_mib = opened.server.memory_mib
                continue
            samples.append((goodput(flood, sizes.overload_s / sizes.rounds), peak.tokens_per_s))
            refusals.append(flood.only(429).column("seconds"))
            _tell(number, flood, samples[-1], offered.processor_share)
        after_mib = opened.server.memory_mib
    refused = np.concatenate(refusals)
    if not len(refused):
        raise SystemExit("nothing was refused: the flood was none")
    return {
        "overload_goodput": Ratio(samples=tuple(samples)),
        "reject_p99_ms": Absolute(value=round(1e3 * float(np.percentile(refused, 99)), 2), unit="ms"),
        "overload_memory_growth_mib": Absolute(value=round(after_mib - before_mib, 1), unit="MiB"),
        "overload_offered": Absolute(value=round(rate, 1), unit="requests/s"),
    }


def goodput(flood: Sent, seconds: float) -> float:
    """Tokens per second of what was answered with 200, from when the queue was full until the flood ended."""
    answered = flood.only(200)
    began_s = FULL_AFTER * seconds
    within = (answered.done_s >= began_s) & (answered.done_s <= seconds)
    return float(answered.column("tokens")[within].sum()) / (seconds - began_s)


def _tell(number: int, flood: Sent, sample: tuple[float, float], generator_share: float) -> None:
    print(
        f"round {number}: {sample[0]:,.0f} of {sample[1]:,.0f} tokens/s, answers {flood.statuses}, "
        f"the generator took {generator_share:.2f} of a core",
        file=sys.stderr,
    )


def victim(sizes: Sizes, world: World, folder: Path) -> dict[str, Figure]:
    """p99 of a key at half its share, beside one at ten times its share, over its p99 alone. A share is half of all."""
    modest, greedy = (_key(world, name) for name in ("modest", "greedy"))
    pools = {
        WARM: warming(sizes, world, key=modest),
        MANY: traffic(sizes, world, count=4 * sizes.requests, key=modest),
        "greedy": traffic(sizes, world, count=8 * sizes.requests, seed=SEED + 1, key=greedy),
    }
    samples: list[tuple[float, float]] = []
    with arena(sizes, world, pools, folder, GLOSSA_KEYS="required") as opened:
        rps = opened.capacity_rps(sizes.requests)
        for number in range(sizes.rounds + 1):
            alone = _victim(opened, sizes, rps, seed=SEED + number, beside=())
            flood = Flow(
                name="greedy", pool="greedy", kind="open", rate=TIMES_CAPACITY * rps, seconds=sizes.seconds, seed=number
            )
            beside = _victim(opened, sizes, rps, seed=SEED + number, beside=(flood,))
            print(f"round {number}: p99 {beside:.0f} ms beside the greedy key, {alone:.0f} ms alone", file=sys.stderr)
            if number:
                samples.append((beside, alone))
    return {"victim_p99_ratio": Ratio(samples=tuple(samples))}


def _victim(opened: Arena, sizes: Sizes, rps: float, *, seed: int, beside: tuple[Flow, ...]) -> float:
    """Its p99 in ms; none of its requests is refused."""
    modest = Flow(
        name="modest", pool=MANY, kind="open", rate=VICTIM_OF_CAPACITY * rps, seconds=sizes.seconds, seed=seed
    )
    found = opened.generator.run(modest, *beside).flows
    hold_answered(found["modest"])
    for flow in beside:
        hold_answered(found[flow.name], also=REFUSED)
    return found["modest"].percentile_ms(99)


def _key(world: World, name: str) -> str:
    registry = open_registry(world.home, blob_url=world.blob_url)
    try:
        return create_key(registry, name=name, role="predict")[1]
    finally:
        registry.close()
