"""A registry of 100,000 versions of 2,000 adapters: how long a page, a search and a reference take, on both databases.

`python -m benchmarks.registry --json FILE` fills a SQLite file and a PostgreSQL of its own, asks 1,000 questions of
each kind, warm, one after the other, and then the same of `glossa serve` in a process of its own. The three figures
without prefix are the 95th percentiles of the slower database.
"""

import argparse
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from statistics import quantiles

import httpx
from sqlalchemy import create_engine

from benchmarks.crowd.contents import Backbones, Member, Size, fill
from benchmarks.crowd.questions import Asked, Here, Question, There, pages, references, searches
from benchmarks.servers.postgres import fresh_database, make_template, postgres_server
from glossa.demo import demo_backbone
from madx.loading import LoadedBackbone, load_backbone
from madx.manifest import digest_of
from registry import catalog
from registry.registry import Registry, open_registry

from .figures import Absolute, Figure, write_figures

SEED = 11
LISTINGS = 50
KINDS = ("list", "search", "resolve")
Times = dict[str, list[float]]
"""Kind of question -> seconds of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A database with a crowd in it. `variables` is what a server needs to find it."""

    name: str
    registry: Registry
    members: tuple[Member, ...]
    variables: Mapping[str, str]


def add_backbones(registry: Registry, loaded: LoadedBackbone) -> Backbones:
    """The one that is served, and four of the same shape that are not."""
    names: dict[str, str] = {loaded.fingerprint: loaded.name}
    names |= {digest_of(f"backbone {number}".encode()): f"backbone-{number}" for number in range(4)}
    for fingerprint, name in names.items():
        catalog.add_backbone(
            registry,
            fingerprint=fingerprint,
            name=name,
            config=loaded.config,
            masked_lm=loaded.backbone.masked_lm is not None,
        )
    return Backbones(names=names)


def filled(name: str, home: Path, database_url: str, loaded: LoadedBackbone, size: Size) -> tuple[Filled, Backbones]:
    began_s = time.monotonic()
    registry = open_registry(home, database_url=database_url)
    backbones = add_backbones(registry, loaded)
    members = fill(registry, backbones, size, seed=SEED)
    if not registry.database.is_embedded:
        _vacuum(registry)
    print(f"{name}: filled in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    variables = {"GLOSSA_HOME": str(home), "DATABASE_URL": database_url}
    return Filled(name=name, registry=registry, members=members, variables=variables), backbones


def _vacuum(registry: Registry) -> None:
    """What PostgreSQL does by itself within minutes."""
    engine = create_engine(registry.database.reader.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def timed(questions: Iterator[Question], count: int) -> list[float]:
    """Seconds of each, after some that are not counted."""
    for ask in islice(questions, count // 5):
        ask()
    times = []
    for ask in islice(questions, count):
        began_s = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began_s)
    return times


def ask_all(asked: Asked, crowd: Filled, backbones: Backbones, count: int) -> Times:
    return {
        "list": timed(pages(asked, crowd.members, seed=SEED), count),
        "search": timed(searches(asked, crowd.members, list(backbones.names), seed=SEED), count),
        "resolve": timed(references(asked, crowd.members, seed=SEED), count),
    }


@contextmanager
def serving(variables: Mapping[str, str]) -> Iterator[There]:
    """`glossa serve` with the demo's backbone."""
    command = [sys.executable, "-c", "from glossa.main import main; main()", "serve", "--port", "0"]
    environment = os.environ | dict(variables) | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if match := re.search(r"at (http://\S+)", line):
                    break
            else:
                raise RuntimeError("the server did not start")
            with httpx.Client(base_url=match[1], timeout=60) as client:
                yield There(client=client)
        finally:
            process.terminate()


def ask_server(crowd: Filled, backbones: Backbones, count: int) -> Times:
    with serving(crowd.variables) as there:
        times = ask_all(there, crowd, backbones, count)
        for what in ("languages", "tasks"):
            times[what] = timed(repeat(partial(there.get, f"/v1/{what}", {})), LISTINGS)
    return times


def measure(folder: Path, *, size: Size, count: int) -> dict[str, Figure]:
    loaded = load_backbone(demo_backbone())
    figures: dict[str, Figure] = {}
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        make_template(server)
        addresses = {
            "sqlite": f"sqlite:///{folder}/sqlite/registry.sqlite",
            "postgresql": stack.enter_context(fresh_database(server)),
        }
        for name, address in addresses.items():
            crowd, backbones = filled(name, folder / name, address, loaded, size)
            gc.collect()
            gc.freeze()  # what a server, too, leaves alone
            here = Here(registry=crowd.registry, fingerprint=backbones.served)
            for prefix, times in (
                (name, ask_all(here, crowd, backbones, count)),
                (f"http_{name}", ask_server(crowd, backbones, count)),
            ):
                for kind, seconds in times.items():
                    figures |= {f"{prefix}_{kind}_{key}": figure for key, figure in summary(seconds).items()}
            crowd.registry.close()
    return slower(figures) | figures


def summary(seconds: list[float]) -> dict[str, Absolute]:
    """Percentiles and the worst, by the ends of their keys."""
    cuts = quantiles(seconds, n=100)
    return {
        "p50_ms": Absolute(value=round(1e3 * cuts[49], 2), unit="ms"),
        "p95_ms": Absolute(value=round(1e3 * cuts[94], 2), unit="ms"),
        "max_ms": Absolute(value=round(1e3 * max(seconds), 2), unit="ms"),
    }


def slower(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Of the two databases, here and through HTTP."""
    keys = [f"{prefix}{{}}{kind}_p95_ms" for prefix in ("", "http_") for kind in KINDS]
    found = {}
    for key in keys:
        both = [figures[key.format(f"{name}_")] for name in ("sqlite", "postgresql")]
        found[key.format("")] = max(both, key=lambda figure: figure.value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registry", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="the result file to write")
    parser.add_argument("--versions", type=int, default=Size().versions)
    parser.add_argument("--adapters", type=int, default=Size().adapters)
    parser.add_argument("--questions", type=int, default=1_000, help="of each kind")
    chosen = parser.parse_args()
    size = Size(adapters=chosen.adapters, versions=chosen.versions)
    with tempfile.TemporaryDirectory(prefix="glossa-registry-") as folder:
        figures = measure(Path(folder), size=size, count=chosen.questions)
    for key, figure in figures.items():
        assert isinstance(figure, Absolute)
        print(f"{key}: {figure.value} {figure.unit}")
    write_figures(chosen.json, figures, dtype="none", device="cpu")


if __name__ == "__main__":
    main()
