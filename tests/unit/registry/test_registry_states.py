"""Any order of publishing, deleting, restoring, pointing, collecting and crashing leaves a sound registry.

After every step fsck finds nothing broken, and every version that was answered and not deleted can be read. In the end
collection leaves exactly the weights of those.
"""

import shutil
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import event

from madx.manifest import Digest, digest_of
from madx.shapes import Shape
from registry import aliases
from registry.collect import collect
from registry.database import migrate
from registry.errors import Conflict, WeightsCollected
from registry.fsck import fsck
from registry.gatekeeper import Gatekeeper
from registry.registry import Registry
from registry.sqlite import open_file
from registry.stores import Staged
from registry.stores.memory import MemoryStore
from registry.versions import delete_version, get_version, restore_version
from registry.weights_gate import check_weights
from tests.support.ageing import let_pass
from tests.support.made_adapters import add_made_backbone, made_adapter, publish_made

NAMES = st.sampled_from(["a", "b"])
SEEDS = st.integers(0, 3)
STATEMENTS = {"the lease": "INSERT INTO leases", "the row": "INSERT INTO versions", "the audit": "INSERT INTO audit"}
PLACES = st.sampled_from([*STATEMENTS, "before the blob", "after the blob", "reading back", "the second commit"])
DAY = timedelta(days=1)


class Crash(BaseException):
    """As a kill looks from inside: nothing may catch it as an error."""


class GateInThisProcess(Gatekeeper):
    """The same look at the same file, without a child for each."""

    def check_weights(self, path: Path, expected: Mapping[str, Shape]) -> None:
        with path.open("rb") as stream:
            check_weights(stream, expected, file_bytes=path.stat().st_size)


class CrashingStore(MemoryStore):
    crash: str | None = None

    def commit(self, staged: Staged) -> None:
        self._crash_at("before the blob")
        super().commit(staged)
        self._crash_at("after the blob")

    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        self._crash_at("reading back")
        return super().open(digest, start=start, length=length)

    def _crash_at(self, place: str) -> None:
        if self.crash == place:
            raise Crash


@cache
def migrated() -> bytes:
    """A database file with its tables and nothing in them."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_file(Path(folder) / "registry.sqlite")
        migrate(database)
        with database.reader.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return (Path(folder) / "registry.sqlite").read_bytes()


def _without_syncing(connection: Any, _entry: object) -> None:
    """No machine loses its power in here."""
    connection.execute("PRAGMA synchronous = OFF")


class RegistryMachine(RuleBasedStateMachine):
    """`seeds` is what every answered version was made from, `live` those that are not deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="glossa-states-"))
        (self.folder / "registry.sqlite").write_bytes(migrated())
        self.store = CrashingStore()
        database = open_file(self.folder / "registry.sqlite")
        event.listen(database.reader, "connect", _without_syncing)
        self.registry = Registry(database=database, store=self.store, gatekeeper=GateInThisProcess())
        add_made_backbone(self.registry)
        self.seeds: dict[tuple[str, int], int] = {}
        self.live: set[tuple[str, int]] = set()
        self.moves: dict[str, list[int]] = {"a": [], "b": []}
        self.commits = 0
        event.listen(database.writer, "before_cursor_execute", self._before_statement)
        event.listen(database.writer, "commit", self._before_commit)

    def teardown(self) -> None:
        self.registry.close()
        shutil.rmtree(self.folder)

    def _before_statement(self, _connection: object, _cursor: object, sql: str, *_more: object) -> None:
        if self.store.crash is not None and sql.startswith(STATEMENTS.get(self.store.crash, "never")):
            raise Crash

    def _before_commit(self, _connection: object) -> None:
        self.commits += 1
        if self.store.crash == "the second commit" and self.commits == 2:
            raise Crash

    @rule(name=NAMES, seed=SEEDS)
    def publish_one(self, name: str, seed: int) -> None:
        self.publish(name, seed)

    def publish(self, name: str, seed: int) -> None:
        version = publish_made(self.registry, name, seed=seed)
        assert self.seeds.setdefault((name, version.number), seed) == seed
        self.live.add((name, version.number))

    @rule(name=NAMES, seed=SEEDS, place=PLACES)
    def crash(self, name: str, seed: int, place: str) -> None:
        """A version that is there already may come back without the statement that would have crashed."""
        self.store.crash, self.commits = place, 0
        try:
            self.publish(name, seed)
        except Crash:
            pass
        finally:
            self.store.crash = None

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name, number = data.draw(st.sampled_from(sorted(self.live)))
        if self.moves[name][-1:] == [number]:
            with pytest.raises(Conflict, match="production"):
                delete_version(self.registry, name, number)
        else:
            delete_version(self.registry, name, number)
            self.live.remove((name, number))

    @precondition(lambda self: self.seeds.keys() - self.live)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name, number = data.draw(st.sampled_from(sorted(self.seeds.keys() - self.live)))
        try:
            restore_version(self.registry, name, number)
        except WeightsCollected:
            return
        self.live.add((name, number))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def point(self, data: st.DataObject) -> None:
        name, number = data.draw(st.sampled_from(sorted(self.live)))
        moves = self.moves[name]
        alias = aliases.move_alias(self.registry, name, "production", number, expected=len(moves))
        if moves[-1:] != [number]:
            moves.append(number)
        assert alias.revision == len(moves)

    @rule(grace=st.sampled_from([timedelta(0), timedelta(hours=2), DAY]))
    def sweep(self, grace: timedelta) -> None:
        collect(self.registry, grace=grace, delete=True)

    @rule(span=st.sampled_from([timedelta(minutes=30), timedelta(hours=3), 2 * DAY]))
    def wait(self, span: timedelta) -> None:
        let_pass(self.registry, span)

    @invariant()
    def nothing_is_broken(self) -> None:
        assert fsck(self.registry).broken == ()

    @invariant()
    def what_was_answered_can_be_read(self) -> None:
        for (name, number), seed in self.seeds.items():
            manifest, weights = made_adapter(seed=seed)
            version = get_version(self.registry, name, number)
            assert version.manifest_bytes == manifest
            assert (version.deleted_at is None) == ((name, number) in self.live)
            if (name, number) in self.live:
                with self.store.open(version.weights_digest) as stream:
                    assert stream.read() == weights

    @invariant()
    def every_move_is_kept(self) -> None:
        for name, moves in self.moves.items():
            if moves:
                assert [move.number for move in aliases.alias_history(self.registry, name, "production")] == moves

    @rule()
    def everything_ends_up_collected(self) -> None:
        """What nobody names is gone after two sweeps, and after a third what only deleted versions named."""
        for _ in range(3):
            let_pass(self.registry, 2 * DAY)
            collect(self.registry, grace=DAY, delete=True)
        named = {digest_of(made_adapter(seed=self.seeds[key])[1]) for key in self.live}
        assert {blob.digest for blob in self.store.list()} == named


@pytest.mark.slow
def test_any_order_of_steps_leaves_a_sound_registry() -> None:
    machine: Any = RegistryMachine
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
