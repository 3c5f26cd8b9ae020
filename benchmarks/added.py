"""What HTTP costs: the same rows through uvicorn, one text a request, and through the engine in its own process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .asking import Asking, requests_of
from .figures import Absolute, Figure, Ratio
from .load.client import Request, Sent
from .load.flows import Flow
from .peers.process import Peer, running_peer
from .trials import CLIENTS, MANY, SEED, WARM, Sizes, arena, hold_answered, warming
from .world import World

QUEUED_TOKENS = 16_384


def added_by_http(sizes: Sizes, world: World, folder: Path) -> dict[str, Figure]:
    """Closed rounds of 64 clients and of the engine with a full queue, in turn."""
    asking = Asking(world, languages=sizes.languages, tasks=sizes.tasks, seed=SEED)
    each = asking.each(languages=range(sizes.languages), tasks=range(sizes.tasks))
    texts = asking.texts((sizes.rounds + 1) * sizes.requests)
    pools = {WARM: warming(sizes, world), MANY: requests_of(texts)}
    flow = Flow(name="http", pool=MANY, kind="closed", clients=CLIENTS, count=sizes.requests)
    samples: list[tuple[float, float]] = []
    answered: list[Sent] = []
    shares: list[float] = []
    with arena(sizes, world, pools, folder) as opened, _engine(sizes, world, each + texts) as engine:
        engine.ask({"count": len(each)})
        for number in range(sizes.rounds + 1):
            if number % 2:
                alone, load = engine.ask({"count": sizes.requests}), opened.generator.run(flow)
            else:
                load, alone = opened.generator.run(flow), engine.ask({"count": sizes.requests})
            sent = load.flows["http"]
            hold_answered(sent, sizes.requests)
            if sent.tokens != alone["tokens"]:
                raise SystemExit(
                    f"HTTP computed {sent.tokens:.0f} tokens, the engine {alone['tokens']} of the same texts"
                )
            pair = (sent.tokens_per_s, alone["tokens"] / alone["seconds"])
            print(f"round {number}: {pair[0]:,.0f} tokens/s, the engine {pair[1]:,.0f}", file=sys.stderr)
            if number:
                samples.append(pair)
                answered.append(sent)
                shares.append(load.processor_share)
        lonely = opened.closed(min(sizes.requests, 100), clients=1)
    figures: dict[str, Figure] = {
        "http_over_engine": Ratio(samples=tuple(samples)),
        "http_generator_share": Absolute(value=round(float(np.median(shares)), 3), unit="of a core"),
    }
    return figures | _added("http_added", answered) | _added("http_added_one_client", [lonely])


def _added(prefix: str, rounds: list[Sent]) -> dict[str, Figure]:
    """Medians of what a request took besides queue and forwards: in all, inside the server, and outside of it."""
    seconds, total, queue, inference = (
        np.concatenate([sent.column(name) for sent in rounds])
        for name in ("seconds", "total_ms", "queue_ms", "inference_ms")
    )
    parts = {
        "p50_ms": 1e3 * seconds - queue - inference,
        "inside_p50_ms": total - queue - inference,
        "outside_p50_ms": 1e3 * seconds - total,
    }
    return {
        f"{prefix}_{name}": Absolute(value=round(float(np.median(part)), 2), unit="ms") for name, part in parts.items()
    }


@contextmanager
def _engine(sizes: Sizes, world: World, texts: list[Request]) -> Iterator[Peer]:
    """The engine's process, with all rows at hand."""
    settings: dict[str, Any] = {
        "home": str(world.home),
        "backbone": str(world.backbone),
        "device": sizes.device,
        "dtype": sizes.dtype,
    }
    if sizes.batch_tokens is not None:
        settings["batch_tokens"] = sizes.batch_tokens
    first = {"settings": settings, "rows": texts, "queued_tokens": QUEUED_TOKENS}
    environment = os.environ | {"OMP_NUM_THREADS": str(sizes.threads)}
    with running_peer([sys.executable, "-m", "benchmarks.load.engine"], environment=environment) as peer:
        found = peer.ask(first)["rows"]
        if found != len(texts):
            raise SystemExit(f"the engine makes {found} rows of {len(texts)} texts")
        yield peer
