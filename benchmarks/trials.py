"""What the trials over HTTP share: their sizes, a server with its adapters loaded, checks of what was answered."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madx.config import BackboneConfig

from .asking import Asking, requests_of
from .load.client import Generator, Request, Sent, running_generator
from .load.flows import Flow
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
    """`requests` are sent in a closed round, `seconds` is an open round's length, `overload_s` all
    rounds' of overload together. `batch_tokens` and `queue_s` are the server's own where they are None.
    """

    shape: BackboneConfig = XLM_R_BASE
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    threads: int
    rounds: int = 5
    requests: int = 384
    seconds: float = 15.0
    overload_s: float = 60.0
    languages: int = 16
    tasks: int = 32
    batch_tokens: int | None = None
    queue_s: float | None = None

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
        """Requests per second that it answers when it always has some."""
        return requests / float(self.closed(requests).done_s.max())


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
