"""What the trials over HTTP share: their sizes, a server with its adapters loaded, checks of what was answered."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from madx.config import BackboneConfig
from service.settings import Settings

from .asking import Asking, requests_of
from .load.client import Generator, Request, Sent, running_generator
from .load.flows import Flow
from .served import Dtype
from .servers.glossa import Serving, serving
from .shapes import XLM_R_BASE
from .world import World

SEED = 29
CLIENTS = 64
WARM = "warm"
"""The pool that asks once for every adapter."""
MANY = "many"
"""The pool of traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """`requests` are sent in a closed round, `seconds` is the length of a window of an open flow, `overload_s` that of
    the flood. A p99 is taken of at least `samples` requests, from as many windows as that takes. The flood is at least
    `least_overload` times the capacity. `batch_tokens` and `queue_s` are the server's own where they are None.
    """

    shape: BackboneConfig = XLM_R_BASE
    device: str = "cpu"
    dtype: Dtype = "auto"
    threads: int
    rounds: int = 5
    requests: int = 384
    seconds: float = 12.0
    samples: int = 400
    overload_s: float = 60.0
    least_overload: float = 4.5
    languages: int = 16
    tasks: int = 32
    batch_tokens: int | None = None
    queue_s: float | None = None

    @property
    def whole_queue_s(self) -> float:
        """Seconds of work in a queue that is full."""
        own: float = Settings.model_fields["queue_s"].default
        return own if self.queue_s is None else self.queue_s

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a server that is measured."""
        limits = {"GLOSSA_BATCH_TOKENS": self.batch_tokens, "GLOSSA_QUEUE_S": self.queue_s}
        return {name: str(limit) for name, limit in limits.items() if limit is not None} | {
            "GLOSSA_DEVICE": self.device,
            "GLOSSA_DTYPE": self.dtype,
            "GLOSSA_REQUESTS_PER_MINUTE": "0",
            "OMP_NUM_THREADS": str(self.threads),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """A running server whose adapters are loaded, and a generator before it."""

    server: Serving
    generator: Generator

    def closed(self, requests: int, *, pool: str = MANY, clients: int = CLIENTS) -> Sent:
        """That many requests by clients that wait for their answers; every one is answered with 200."""
        flow = Flow(name="closed", pool=pool, kind="closed", clients=clients, count=requests)
        sent = self.generator.run(flow).flows["closed"]
        hold_answered(sent, requests)
        return sent

    def capacity_rps(self, requests: int) -> float:
        """Requests per second that it answers when it always has some, after a few that warm it up."""
        self.closed(max(1, requests // 4))
        return rps_of(self.closed(requests))


def rps_of(closed: Sent) -> float:
    """Requests per second of a closed round."""
    return len(closed) / float(closed.done_s.max())


@contextmanager
def arena(
    sizes: Sizes, world: World, pools: Mapping[str, Sequence[Request]], folder: Path, **variables: str
) -> Iterator[Arena]:
    """`pools` has one named WARM, which is asked once. `variables` are further ones of the server's environment."""
    environment = world.variables | sizes.variables | variables
    with (
        serving(environment, folder / "server.log") as server,
        running_generator(server.url, pools) as generator,
    ):
        opened = Arena(server=server, generator=generator)
        opened.closed(len(pools[WARM]), pool=WARM, clients=8)
        yield opened


def traffic(sizes: Sizes, world: World, *, count: int, seed: int = SEED, key: str | None = None) -> list[Request]:
    asking = Asking(world, languages=sizes.languages, tasks=sizes.tasks, seed=seed)
    return requests_of(asking.texts(count), key=key)


def warming(sizes: Sizes, world: World, *, key: str | None = None) -> list[Request]:
    asking = Asking(world, languages=sizes.languages, tasks=sizes.tasks, seed=SEED)
    return requests_of(asking.each(languages=range(sizes.languages), tasks=range(sizes.tasks)), key=key)


def hold_answered(sent: Sent, count: int | None = None, *, also: Sequence[int] = ()) -> None:
    """Ends the run where something was answered otherwise than with 200 or `also`, or not at all."""
    strange = {status: number for status, number in sent.statuses.items() if status != 200 and status not in also}
    if strange or not len(sent.only(200)) or (count is not None and len(sent) != count):
        raise SystemExit(f"of {count or 'all'} requests {len(sent)} were answered, some with other statuses: {strange}")


def pools_of(counts: Sequence[int], least: int) -> list[range]:
    """From each window on the fewest in a row that have `least` samples together; none where too few follow."""
    pools: list[range] = []
    for begin in range(len(counts)):
        ends = (end for end in range(begin + 1, len(counts) + 1) if sum(counts[begin:end]) >= least)
        if (end := next(ends, None)) is not None:
            pools.append(range(begin, end))
    return pools


def p99_ms(windows: Sequence[Sent], pool: range) -> float:
    """Over all requests of these windows."""
    return Sent(table=np.concatenate([windows[number].table for number in pool])).percentile_ms(99)
