"""SIGKILL at the steps of a publish, an alias move and a sweep, and at random: nothing answered is lost.

GLOSSA_KILLS is how many kills there are over both kinds of registry (`make kills KILLS=200`).
"""

import io
import os
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from benchmarks.servers.object_stores import ObjectServer, ministack
from benchmarks.servers.postgres import fresh_database, kill_server, make_template, postgres_server, restart_server
from registry import catalog
from registry.collect import collect
from registry.registry import Registry
from registry.versions import delete_version
from tests.support.ageing import let_pass
from tests.support.deaths import Publishers, publishers, until
from tests.support.made_adapters import publish_made
from tests.support.places import Place

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("GLOSSA_KILLS", "40"))
HOUR = timedelta(hours=1)
SWEEP_EVERY = 10


@pytest.fixture
def registry(place: Place) -> Iterator[Registry]:
    with place.registry() as registry:
        yield registry


@pytest.fixture
def mortals(place: Place, registry: Registry, tmp_path: Path, wheel_bin: Path) -> Iterator[Publishers]:
    with publishers(place, tmp_path, wheel_bin / "python") as started:
        yield started


def sweep(registry: Registry) -> None:
    """As if the dead had been dead for long: their leases have expired, and what they left may be collected."""
    let_pass(registry, 2 * HOUR)
    collect(registry, grace=HOUR, delete=True)


def spread(count: int, among: int) -> list[int]:
    """One number from each of `count` equal stretches: all numbers where there are as many."""
    edges = [among * part // count for part in range(count + 1)]
    return [random.randrange(start, max(end, start + 1)) for start, end in pairwise(edges)]


def test_killed_at_every_step_and_at_random(mortals: Publishers, registry: Registry) -> None:
    mortals.steps(seed=1)
    steps = mortals.steps(seed=2)
    assert {"call default.DefaultDialect.do_commit", "return publish.publish", "return aliases.move_alias"} <= {*steps}
    at_steps = spread(KILLS // 4, len(steps))
    killed, seed = 0, 3
    for turn, step in enumerate([*at_steps, *[None] * (KILLS // 2 - len(at_steps))]):
        died = mortals.die_within(0.5, seed) if step is None else mortals.die_at(step, seed)
        killed += died
        # Half of the time somebody tries again what the dead one was about.
        seed += 1000 if random.random() < 0.5 or not died else 0
        if turn % SWEEP_EVERY == SWEEP_EVERY - 1:
            sweep(registry)
    mortals.answered.assert_there(registry)
    assert killed >= 0.8 * (KILLS // 2)
    for _ in range(2):
        sweep(registry)
    mortals.answered.assert_there(registry)
    publish_made(registry, "sw", seed=999_999)


def litter(registry: Registry, seed: int) -> None:
    """Something for each of a sweep's steps: a version to purge, a blob to delete, and one to mark."""
    registry.store.put(io.BytesIO(f"orphan {seed}, to be deleted".encode()))
    sweep(registry)
    version = publish_made(registry, "gone", seed=seed)
    delete_version(registry, "gone", version.number)
    let_pass(registry, 2 * HOUR)
    registry.store.put(io.BytesIO(f"orphan {seed}, to be marked".encode()))


def test_killed_collectors_take_nothing_that_is_named(mortals: Publishers, registry: Registry) -> None:
    for seed in range(3):
        mortals.steps(seed)
    litter(registry, seed=3)
    steps = mortals.steps(seed=0, sweep=True)
    assert {"call collect._purge", "return collect._mark", "return collect.delete_unclaimed"} <= {*steps}
    killed = 0
    for turn, step in enumerate(spread(KILLS // 4, len(steps))):
        litter(registry, seed=4 + turn)
        killed += mortals.die_at(step, seed=0, sweep=True)
    assert killed >= 0.8 * (KILLS // 4)
    mortals.answered.assert_there(registry)
    for _ in range(3):
        sweep(registry)
    mortals.answered.assert_there(registry)
    named = {version.weights_digest for version in catalog.show(registry, "sw").versions}
    assert {blob.digest for blob in registry.store.list()} == named


def test_killed_servers_lose_nothing_that_was_answered(
    tmp_path: Path, wheel_bin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL and the object store die under a publisher and come back; then it dies too."""
    if os.environ.get("TEST_DATABASE_URL"):
        pytest.skip("the PostgreSQL that TEST_DATABASE_URL names is not ours to kill")
    with postgres_server() as server:
        make_template(server)
        with fresh_database(server) as url, ministack(tmp_path / "objects") as objects:
            for name, value in objects.environment.items():
                monkeypatch.setenv(name, value)
            place = Place(home=tmp_path / "home", database_url=url, blob_url=objects.fresh_url())
            with place.registry() as registry, publishers(place, tmp_path, wheel_bin / "python") as mortals:
                outlive(mortals, server, objects, tmp_path / "objects", registry)


def outlive(mortals: Publishers, server: URL, objects: ObjectServer, folder: Path, registry: Registry) -> None:
    lines = mortals.live(seed=1)
    child = int(next(lines).split()[1])

    def published(line: str) -> bool:
        return line.startswith("alias ")

    def away(line: str) -> bool:
        return line.startswith("away ")

    until(lines, published, times=3)
    kill_server(server)
    until(lines, away)
    restart_server(server)
    until(lines, published, times=3)
    assert objects.process is not None
    objects.process.kill()
    objects.process.wait()
    until(lines, away)
    with ministack(folder, port=int(objects.endpoint.rpartition(":")[2])):
        until(lines, published, times=3)
        os.kill(child, 9)
        assert [*lines][-1] == "ended -9"
        mortals.answered.assert_there(registry)
        assert len(mortals.answered.numbers) >= 9
