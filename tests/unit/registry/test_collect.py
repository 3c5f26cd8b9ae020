"""Garbage collection: what it keeps, what it takes and when, on both databases."""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from madx.manifest import Digest, digest_of
from registry import aliases, catalog
from registry.collect import Report, collect
from registry.database import hold, now_of
from registry.errors import LeaseLost, StoreUnavailable, WeightsCollected
from registry.leases import give_up, leased
from registry.models import AuditRow, LeaseRow, TombstoneRow, VersionRow
from registry.registry import Registry
from registry.replies import claim
from registry.stores import Blob
from registry.stores.local import LocalStore
from registry.uploads import UploadLimits, open_upload
from registry.versions import delete_version, restore_version
from tests.support.ageing import let_pass
from tests.support.made_adapters import made_adapter, publish_made

GRACE = timedelta(hours=24)
LIMITS = UploadLimits(size_bytes=1 << 20, life=timedelta(hours=24), per_actor=4)


def sweep(registry: Registry) -> Report:
    return collect(registry, grace=GRACE, delete=True)


def orphan(registry: Registry, content: bytes = b"nobody's") -> Blob:
    return registry.store.put(io.BytesIO(content))


def digests(registry: Registry) -> list[Digest]:
    return [blob.digest for blob in registry.store.list()]


def rows_of(registry: Registry) -> list[tuple[str, str]]:
    with registry.database.reading() as session:
        found = [("tombstone", digest) for digest in session.scalars(select(TombstoneRow.digest))]
        found += [("lease", digest) for digest in session.scalars(select(LeaseRow.digest))]
        purged = select(VersionRow).where(VersionRow.purged_at.is_not(None))
        found += [("purged", f"{row.adapter}@{row.number}") for row in session.scalars(purged)]
    return found


def test_an_orphan_is_marked_then_waited_for_then_deleted(registry: Registry) -> None:
    version = publish_made(registry, "sw")
    blob = orphan(registry)
    first = sweep(registry)
    assert (first.marked, first.waiting, first.collected) == ((blob,), (), ())
    let_pass(registry, GRACE - timedelta(minutes=1))
    second = sweep(registry)
    assert (second.marked, second.waiting, second.collected) == ((), (blob,), ())
    let_pass(registry, timedelta(minutes=2))
    third = sweep(registry)
    assert (third.marked, third.waiting, third.collected) == ((), (), (blob,))
    assert third.freed_bytes == blob.size_bytes
    assert digests(registry) == [version.weights_digest]
    assert rows_of(registry) == []
    assert sweep(registry).collected == ()


def test_even_without_grace_a_blob_is_seen_twice(registry: Registry) -> None:
    blob = orphan(registry)
    assert collect(registry, grace=timedelta(0), delete=True).collected == ()
    assert collect(registry, grace=timedelta(0), delete=True).collected == (blob,)


def test_a_rehearsal_writes_nothing_and_foretells_the_sweep(registry: Registry) -> None:
    publish_made(registry, "sw")
    publish_made(registry, "sw", seed=1)
    delete_version(registry, "sw", 1)
    due = orphan(registry, b"one")
    sweep(registry)
    let_pass(registry, 2 * GRACE)
    orphan(registry, b"two")
    (registry.store.staging / "left.part").write_bytes(b"half")
    let_pass(registry, 2 * GRACE)
    held, rows = digests(registry), rows_of(registry)
    rehearsal = collect(registry, grace=GRACE, delete=False)
    assert (digests(registry), rows_of(registry)) == (held, rows)
    assert rehearsal.dry
    assert rehearsal.collected == (due,)
    assert rehearsal.purged == ("sw@1",)
    assert [leftover.size_bytes for leftover in rehearsal.leftovers] == [4]
    assert replace(rehearsal, dry=False) == sweep(registry)
    assert list(registry.store.staging.iterdir()) == []


def test_a_deleted_version_gives_up_its_weights_after_the_grace_period(registry: Registry) -> None:
    first, second = publish_made(registry, "sw"), publish_made(registry, "sw", seed=1)
    delete_version(registry, "sw", 1)
    let_pass(registry, GRACE - timedelta(minutes=1))
    assert sweep(registry).purged == ()
    assert restore_version(registry, "sw", 1).deleted_at is None
    delete_version(registry, "sw", 1)
    let_pass(registry, GRACE)
    report = sweep(registry)
    assert report.purged == ("sw@1",)
    assert [blob.digest for blob in report.marked] == [first.weights_digest]
    with pytest.raises(WeightsCollected, match="collected"):
        restore_version(registry, "sw", 1)
    let_pass(registry, GRACE)
    assert [blob.digest for blob in sweep(registry).collected] == [first.weights_digest]
    assert digests(registry) == [second.weights_digest]
    assert publish_made(registry, "sw").number == 1
    assert sorted(digests(registry)) == sorted([first.weights_digest, second.weights_digest])
    assert rows_of(registry) == []


def test_weights_that_another_version_shares_stay(registry: Registry) -> None:
    publish_made(registry, "sw")
    publish_made(registry, "sw-too")
    delete_version(registry, "sw", 1)
    for _ in range(3):
        let_pass(registry, GRACE)
        sweep(registry)
    assert rows_of(registry) == [("purged", "sw@1")]
    assert len(digests(registry)) == 1


def test_what_comes_back_to_use_loses_its_tombstone(registry: Registry) -> None:
    _, weights = made_adapter()
    blob = orphan(registry, weights)
    assert sweep(registry).marked == (blob,)
    publish_made(registry, "sw")
    assert rows_of(registry) == []
    with registry.database.session() as session:
        session.add(TombstoneRow(digest=blob.digest, marked_at=catalog.show(registry, "sw").created_at - 2 * GRACE))
    assert sweep(registry).collected == ()
    assert rows_of(registry) == []
    assert digests(registry) == [blob.digest]


def test_a_tombstone_without_its_blob_goes(registry: Registry) -> None:
    blob = orphan(registry)
    sweep(registry)
    registry.store.delete(blob.digest)
    sweep(registry)
    assert rows_of(registry) == []


def test_a_lease_keeps_a_blob_until_it_expires(registry: Registry) -> None:
    blob = orphan(registry)
    sweep(registry)
    let_pass(registry, 2 * GRACE)
    with leased(registry.database, blob.digest, actor="test") as lease:
        for _ in range(2):
            report = sweep(registry)
            assert (report.marked, report.collected, report.leases) == ((), (), 0)
        let_pass(registry, 2 * GRACE)
        assert sweep(registry).leases == 1
        with pytest.raises(LeaseLost, match="try again"), registry.database.session() as session:
            give_up(session, lease)
    let_pass(registry, 2 * GRACE)
    assert sweep(registry).collected == (blob,)


class PublishesAfterTheListing(LocalStore):
    """As slow as a large bucket: before the sweep goes on, somebody has published what was listed as an orphan."""

    registry: Registry

    def list(self) -> Iterator[Blob]:
        yield from list(super().list())
        publish_made(self.registry, "sw")


def test_what_is_published_during_a_sweep_stays(registry: Registry, tmp_path: Path) -> None:
    _, weights = made_adapter()
    orphan(registry, weights)
    sweep(registry)
    let_pass(registry, 2 * GRACE)
    assert isinstance(registry.store, LocalStore)
    slow = PublishesAfterTheListing(registry.store.root)
    slow.registry = registry
    assert sweep(replace(registry, store=slow)).collected == ()
    assert digests(registry) == [digest_of(weights)]


class FailsLate(LocalStore):
    """Lists something, then breaks."""

    def list(self) -> Iterator[Blob]:
        yield next(iter(super().list()))
        raise StoreUnavailable("broke off")


def test_a_listing_that_fails_ends_the_sweep_before_anything_happens(registry: Registry) -> None:
    publish_made(registry, "sw")
    publish_made(registry, "sw", seed=1)
    orphan(registry)
    sweep(registry)
    delete_version(registry, "sw", 1)
    let_pass(registry, 2 * GRACE)
    held, rows = digests(registry), rows_of(registry)
    assert isinstance(registry.store, LocalStore)
    with pytest.raises(StoreUnavailable, match="broke off"):
        sweep(replace(registry, store=FailsLate(registry.store.root)))
    assert (digests(registry), rows_of(registry)) == (held, rows)


class CannotDelete(LocalStore):
    def delete(self, digest: Digest) -> None:
        raise StoreUnavailable("read-only")


def test_a_blob_that_cannot_be_deleted_keeps_its_tombstone(registry: Registry) -> None:
    blob = orphan(registry)
    sweep(registry)
    let_pass(registry, 2 * GRACE)
    assert isinstance(registry.store, LocalStore)
    with pytest.raises(StoreUnavailable, match="read-only"):
        sweep(replace(registry, store=CannotDelete(registry.store.root)))
    assert rows_of(registry) == [("tombstone", blob.digest)]
    assert sweep(registry).collected == (blob,)


class TellsOfTheListing(LocalStore):
    listed: threading.Event

    def list(self) -> Iterator[Blob]:
        yield from super().list()
        self.listed.set()


def test_who_holds_the_digest_is_waited_for(registry: Registry) -> None:
    """As `leased` does, but slowly: the lease is there only after the sweep has found the blob due."""
    blob = orphan(registry)
    sweep(registry)
    let_pass(registry, 2 * GRACE)
    assert isinstance(registry.store, LocalStore)
    store = TellsOfTheListing(registry.store.root)
    store.listed = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with registry.database.session() as session:
            hold(session, blob.digest)
            report = pool.submit(sweep, replace(registry, store=store))
            assert store.listed.wait(60)
            time.sleep(0.2)  # for it to get as far as it can
            session.add(LeaseRow(id="0" * 32, digest=blob.digest, actor="test", expires_at=now_of(session) + GRACE))
        assert report.result(60).collected == ()
    assert digests(registry) == [blob.digest]


def test_young_leftovers_and_uploads_stay(registry: Registry) -> None:
    upload = open_upload(registry, actor="test", limits=LIMITS)
    claim(registry, actor="test", key="k", request_digest="0" * 64)
    staged = registry.store.stage(io.BytesIO(b"on its way"))
    report = collect(registry, grace=timedelta(0), delete=True)
    assert (report.leftovers, report.uploads, report.replies) == ((), (), 0)
    let_pass(registry, 2 * GRACE)
    report = collect(registry, grace=timedelta(0), delete=True)
    assert [leftover.name for leftover in report.leftovers] == [str(staged.path)]
    assert [gone.id for gone in report.uploads] == [upload.id]
    assert report.replies == 1
    assert [path for path in registry.store.staging.rglob("*") if path.is_file()] == []


def test_the_journal_tells_who_took_what(registry: Registry) -> None:
    version = publish_made(registry, "sw")
    publish_made(registry, "sw", seed=1)
    aliases.move_alias(registry, "sw", "production", 2)
    delete_version(registry, "sw", 1)
    for _ in range(2):
        let_pass(registry, 2 * GRACE)
        collect(registry, grace=GRACE, delete=True, actor="janitor")
    with registry.database.reading() as session:
        rows = session.scalars(select(AuditRow).where(AuditRow.actor == "janitor").order_by(AuditRow.id)).all()
    assert [(row.action, row.subject, row.from_digest) for row in rows] == [
        ("version.purged", "sw@1", version.manifest_digest),
        ("blob.collected", version.weights_digest, None),
    ]
