"""`python -m tests.soak.soak --minutes 10`: uploads, downloads, deletions and `glossa gc --delete` all at once.

Ends with status 1 where one version is lost, one answer is a server's fault, or fsck finds something broken.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.servers.object_stores import ministack
from benchmarks.servers.postgres import fresh_database, make_template, postgres_server
from registry.fsck import fsck
from registry.registry import Registry, open_registry

from .contents import add_backbones
from .doors import Door, HttpDoor, RegistryDoor
from .workers import Live, Truth, Worker

GLOSSA = Path(sys.executable).parent / "glossa"
WORKERS = 8
GRACE = "1s"
PAUSE_S = 0.5
CHECK_EVERY = 10
REPORT_EVERY_S = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--on", choices=["sqlite", "postgresql"], default="sqlite", help="the latter with ministack")
    parser.add_argument("--level", choices=["http", "registry"], default="http")
    given = parser.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glossa-soak-")))
        os.environ.update({"GLOSSA_HOME": str(home / "home"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
        if given.on == "postgresql":
            stack.enter_context(servers(home))
        registry = open_registry(
            home / "home", database_url=os.environ.get("DATABASE_URL"), blob_url=os.environ.get("GLOSSA_BLOB_URL")
        )
        stack.callback(registry.close)
        add_backbones(registry)
        door_of = stack.enter_context(doors(given.level, home, registry))
        truth = soak(door_of, minutes=given.minutes)
        return verdict(truth, registry)


@contextmanager
def servers(folder: Path) -> Iterator[None]:
    with postgres_server() as server:
        make_template(server)
        with fresh_database(server) as url, ministack(folder / "objects") as objects:
            os.environ.update(objects.environment)
            os.environ.update({"DATABASE_URL": url, "GLOSSA_BLOB_URL": objects.fresh_url()})
            yield
            del os.environ["DATABASE_URL"]


class Doors:
    """A door for each worker, to the same registry."""

    def __init__(self, *, registry: Registry | None = None, server: str | None = None) -> None:
        self._registry = registry
        self._server = server

    def open(self) -> Door:
        if self._server is not None:
            return HttpDoor(self._server)
        assert self._registry is not None
        return RegistryDoor(self._registry)


@contextmanager
def doors(level: str, folder: Path, registry: Registry) -> Iterator[Doors]:
    if level == "registry":
        yield Doors(registry=registry)
        return
    from tests.support.tiny import make_backbone

    backbone = make_backbone(folder / "tiny")
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [GLOSSA, "serve", "--port", "0", "--backbone", backbone],
            stdout=subprocess.PIPE,
            stderr=output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert " at http" in line, f"{line}{log.read_text()}"
        yield Doors(server=line.partition(" at ")[2].split()[0])
        assert process.poll() is None, f"the server has ended: {log.read_text()[-2000:]}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def soak(doors: Doors, *, minutes: float) -> Truth:
    """All workers and the collector, for that long; then every version that must be there is downloaded once more."""
    truth = Truth()
    until_s = time.monotonic() + 60 * minutes
    workers = [Worker(index=index, door=doors.open(), truth=truth) for index in range(WORKERS)]
    ended = threading.Event()
    with ThreadPoolExecutor(WORKERS + 2) as pool:
        collector = pool.submit(collect_until, ended, truth)
        reporter = pool.submit(report_until, ended, truth)
        try:
            for done in [pool.submit(worker.run, until_s) for worker in workers]:
                done.result()
        finally:
            ended.set()
        collector.result()
        reporter.result()
    door = doors.open()
    for live in list(truth.live):
        last_look(door, truth, live)
    truth.counts["live at the end"] = len(truth.live)
    return truth


def last_look(door: Door, truth: Truth, live: Live) -> None:
    try:
        truth.check(door, live)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        truth.count("errors", f"{live.name}@{live.number}: {type(error).__name__}: {error}")


def collect_until(ended: threading.Event, truth: Truth) -> None:
    for turn in itertools.count(1):
        if ended.wait(PAUSE_S):
            return
        report = told(truth, "gc", "--delete", "--grace", GRACE)
        if report is not None:
            truth.add_counts({"collections": 1, "versions purged": len(report["purged"])})
            truth.add_counts({"blobs collected": len(report["collected"])})
        if turn % CHECK_EVERY == 0 and told(truth, "fsck") is not None:
            truth.count("checks")


def told(truth: Truth, *command: str) -> dict[str, Any] | None:
    """What the command says, or None and an error counted."""
    done = subprocess.run([str(GLOSSA), *command, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        truth.count("errors", f"{command[0]}: {done.stderr.strip()} {done.stdout[:1000]}")
        return None
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def report_until(ended: threading.Event, truth: Truth) -> None:
    started = time.monotonic()
    while not ended.wait(REPORT_EVERY_S):
        with truth.lock:
            counts = ", ".join(f"{count} {what}" for what, count in sorted(truth.counts.items()))
        print(f"{(time.monotonic() - started) / 60:.0f} min: {counts}", flush=True)  # noqa: T201


def verdict(truth: Truth, registry: Registry) -> int:
    report = fsck(registry)
    for line in (*truth.told, *(f"{found.code} {found.subject}: {found.message}" for found in report.broken)):
        print(line)  # noqa: T201
    counts = {"lost": 0, "errors": 0} | dict(truth.counts) | {"broken": len(report.broken)}
    print(json.dumps(counts, indent=2))  # noqa: T201
    return int(any(counts[what] for what in ("lost", "errors", "broken")))


if __name__ == "__main__":
    sys.exit(main())
