"""What 32 writers at once may expect of a registry, whatever its database and store: a contract class.

Who inherits it gives the fixture `place`.
"""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from registry import aliases, catalog
from registry.collect import collect
from registry.errors import Conflict, PreconditionFailed, UnknownVersion
from registry.fsck import fsck
from registry.references import AdapterRef
from registry.registry import Registry
from registry.stores import Blob
from registry.stores.base import verify
from registry.versions import delete_version
from tests.support.made_adapters import FINGERPRINT, made_adapter, publish_made
from tests.support.places import Place

WRITERS = 32
ROUNDS = 10
TURNS = 8
SUPPORT = Path(__file__).parent
Got = TypeVar("Got")


def at_once(do: Callable[[int], Got], count: int = WRITERS) -> list[Got]:
    """`do` with 0, 1, …, by as many threads, which begin together."""
    barrier = threading.Barrier(count)

    def begin(index: int) -> Got:
        barrier.wait(60)
        return do(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def assert_all_there(registry: Registry, count: int) -> None:
    """Numbers from 1 to `count`, each with one of the contents, no content twice; each told of once, in order."""
    versions = catalog.show(registry, "sw").versions
    assert [version.number for version in versions] == list(range(1, count + 1))
    assert {version.manifest_bytes for version in versions} == {made_adapter(seed=seed)[0] for seed in range(count)}
    events = [event for event in catalog.events_after(registry, 0, limit=10_000) if event.action == "version.published"]
    assert [event.subject for event in events] == [f"sw@{number}" for number in range(1, count + 1)]
    assert fsck(registry).findings == ()


class RegistryRaces:
    """Everything runs against one registry of the test's own."""

    @pytest.fixture
    def registry(self, place: Place) -> Iterator[Registry]:
        with place.registry() as registry:
            yield registry

    def test_threads_publish_under_one_new_name(self, registry: Registry) -> None:
        numbers = at_once(lambda seed: publish_made(registry, "sw", seed=seed).number)
        assert sorted(numbers) == list(range(1, WRITERS + 1))
        assert_all_there(registry, WRITERS)

    def test_processes_publish_under_one_new_name(
        self, registry: Registry, place: Place, tmp_path: Path, wheel_bin: Path
    ) -> None:
        for name in ("made_adapters.py", "racers.py"):
            shutil.copy(SUPPORT / name, tmp_path)
        where = [str(place.home), place.database_url or "-", place.blob_url or "-"]
        done = subprocess.run(
            [wheel_bin / "python", "racers.py", *where, str(WRITERS)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert sorted(map(int, done.stdout.split())) == list(range(1, WRITERS + 1))
        assert_all_there(registry, WRITERS)

    def test_the_same_content_is_one_version(self, registry: Registry) -> None:
        assert set(at_once(lambda _: publish_made(registry, "sw", seed=0).number)) == {1}
        assert_all_there(registry, 1)

    def test_of_those_who_move_an_alias_one_wins(self, registry: Registry) -> None:
        """Each wants another version, and all expect the same revision."""
        for seed in range(WRITERS + 1):
            publish_made(registry, "sw", seed=seed)
        target = 0
        for revision in range(ROUNDS):
            targets = [number for number in range(1, WRITERS + 2) if number != target]

            def move(index: int, revision: int = revision, targets: list[int] = targets) -> int:
                try:
                    return aliases.move_alias(registry, "sw", "production", targets[index], expected=revision).number
                except PreconditionFailed:
                    return 0

            winners = [number for number in at_once(move) if number]
            assert len(winners) == 1
            (target,) = winners
            alias = aliases.get_alias(registry, "sw", "production")
            assert (alias.number, alias.revision) == (target, revision + 1)
        assert len(aliases.alias_history(registry, "sw", "production")) == ROUNDS
        assert fsck(registry).findings == ()

    def test_no_pointer_names_what_is_deleted_at_the_same_moment(self, registry: Registry) -> None:
        """For each version one wants to delete it, one to point the alias at it, and one to make it the default."""
        for seed in range(ROUNDS):
            publish_made(registry, "sw", seed=seed)

        def act(index: int) -> None:
            number = index // 3 + 1
            reference = AdapterRef(name="sw", number=number)
            with suppress(Conflict, UnknownVersion):
                match index % 3:
                    case 0:
                        delete_version(registry, "sw", number)
                    case 1:
                        aliases.move_alias(registry, "sw", "production", number)
                    case _:
                        catalog.set_default(registry, reference, fingerprint=FINGERPRINT)

        at_once(act, count=3 * ROUNDS)
        assert fsck(registry).findings == ()

    def test_what_is_published_beside_collection_is_there(self, registry: Registry) -> None:
        """Two contents under many names, which come and go; without grace, so weights are deleted once seen twice."""
        done = threading.Event()

        def publish_and_delete(index: int) -> None:
            name = f"sw-{index}"
            for turn in range(TURNS):
                version = publish_made(registry, name, seed=index % 2)
                verify(registry.store, Blob(digest=version.weights_digest, size_bytes=version.size_bytes))
                if turn < TURNS - 1:
                    delete_version(registry, name, version.number)

        def sweep() -> int:
            sweeps = 0
            while not done.is_set():
                collect(registry, grace=timedelta(0), delete=True)
                sweeps += 1
            return sweeps

        with ThreadPoolExecutor(1) as pool:
            sweeps = pool.submit(sweep)
            try:
                at_once(publish_and_delete, count=8)  # each sees to its own name
            finally:
                done.set()
            assert sweeps.result() > 1
        assert fsck(registry).broken == ()
