"""fsck finds each thing that can be wrong, and repairs no more than what can be made again, on both databases."""

import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import aliases, catalog
from registry.collect import collect
from registry.database import open_database
from registry.fsck import Report, fsck
from registry.leases import leased
from registry.lineage import lineage_of
from registry.references import parse_reference
from registry.registry import Registry
from registry.stores.local import LocalStore
from registry.versions import delete_version
from tests.support.ageing import let_pass
from tests.support.made_adapters import FINGERPRINT, publish_made

DAY = timedelta(days=1)


@pytest.fixture
def sound(registry: Registry) -> Registry:
    """Two adapters, one with a deleted version, one with a purged one, and an alias that moved, went and came back."""
    for seed in range(3):
        publish_made(registry, "sw", seed=seed)
    for seed in range(2):
        publish_made(registry, "ner", "task", key="ner", seed=seed)
    for number in (1, 2):
        aliases.move_alias(registry, "sw", "production", number)
    aliases.remove_alias(registry, "sw", "production")
    aliases.move_alias(registry, "sw", "production", 3)
    catalog.set_default(registry, parse_reference("ner@2"), fingerprint=FINGERPRINT)
    delete_version(registry, "ner", 1)
    for _ in range(2):
        let_pass(registry, DAY)
        collect(registry, grace=DAY, delete=True)
    delete_version(registry, "sw", 1)
    return registry


def by_hand(registry: Registry, *statements: str) -> None:
    with registry.database.session() as session:
        for statement in statements:
            session.execute(text(statement))


def codes(report: Report) -> list[tuple[str, str]]:
    return [(finding.code, finding.subject) for finding in report.findings]


def test_nothing_is_wrong_with_what_the_registry_made(sound: Registry) -> None:
    report = fsck(sound)
    assert report.findings == ()
    assert (report.num_versions, report.num_blobs) == (5, 4)
    assert report.hashed_bytes == sum(blob.size_bytes for blob in sound.store.list())
    assert fsck(sound, quick=True).hashed_bytes == 0


def test_an_empty_registry(empty_registry: Registry) -> None:
    assert fsck(empty_registry) == Report(findings=(), num_versions=0, num_blobs=0, hashed_bytes=0)


WRONG_ROWS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "another manifest": (
        """UPDATE versions SET manifest = (SELECT manifest FROM versions WHERE adapter = 'sw' AND number = 3)
        WHERE adapter = 'sw' AND number = 2""",
        [("manifest_digest", "sw@2"), ("manifest_differs", "sw@2")],
    ),
    "another size": (
        "UPDATE versions SET size_bytes = size_bytes + 1 WHERE adapter = 'sw' AND number = 2",
        [("manifest_differs", "sw@2"), ("blob_size", "sw@2")],
    ),
    "labels gone": ("DELETE FROM version_labels WHERE number = 2", [("lineage_differs", "ner@2")]),
    "published by nobody": (
        "DELETE FROM audit WHERE subject = 'sw@2' AND action = 'version.published'",
        [("audit_missing", "sw@2")],
    ),
    "moved by nobody": (
        "DELETE FROM audit WHERE subject = 'sw@production' AND action = 'alias.removed'",
        [("audit_missing", "sw@production")],
    ),
    "an alias that points at a deleted version": (
        "UPDATE versions SET deleted_at = created_at WHERE adapter = 'sw' AND number = 3",
        [("alias_target", "sw@production")],
    ),
    "an alias that moved without a history": (
        "UPDATE aliases SET number = 2",
        [("alias_history", "sw@production")],
    ),
    "a history with a hole": (
        "DELETE FROM alias_history WHERE revision = 2",
        [("alias_history", "sw@production")],
    ),
    "a default that names a deleted version": (
        "UPDATE versions SET deleted_at = created_at WHERE adapter = 'ner' AND number = 2",
        [("default_target", "ner@2")],
    ),
    "a version gone": (
        "DELETE FROM versions WHERE adapter = 'sw' AND number = 2",
        [("number_gap", "sw")],
    ),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_rows_that_are_wrong(sound: Registry, name: str) -> None:
    statement, expected = WRONG_ROWS[name]
    if name == "a version gone":
        by_hand(sound, "DELETE FROM alias_history WHERE number = 2", statement)
        expected = [*expected, ("alias_history", "sw@production")]
    else:
        by_hand(sound, statement)
    report = fsck(sound)
    broken = [(finding.code, finding.subject) for finding in report.broken]
    assert broken == expected
    assert not report.is_sound


def test_a_manifest_that_cannot_be_read(sound: Registry) -> None:
    broken = "X'7b'" if sound.database.is_embedded else "'\\x7b'::bytea"
    by_hand(sound, f"UPDATE versions SET manifest = {broken} WHERE adapter = 'sw' AND number = 2")
    assert codes(fsck(sound)) == [("manifest_digest", "sw@2"), ("manifest_unreadable", "sw@2")]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str, bool]] = {
    "a bit": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "blob_corrupt", False),
    "the end": (lambda content: content[:-1], "blob_size", True),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_blob_is_reported_kept_and_healed_by_publishing(sound: Registry, name: str) -> None:
    damage, code, is_seen_quickly = DAMAGE[name]
    version = publish_made(sound, "sw-too", seed=1)
    assert isinstance(sound.store, LocalStore)
    path = sound.store.root / version.weights_digest[:2] / version.weights_digest[2:]
    path.write_bytes(damage(path.read_bytes()))
    for repair in (False, True):
        assert codes(fsck(sound, repair=repair)) == [(code, "sw@2"), (code, "sw-too@1")]
    assert path.exists()
    assert fsck(sound, quick=True).is_sound != is_seen_quickly
    publish_made(sound, "sw", seed=1)
    assert fsck(sound).findings == ()


def test_a_missing_blob(sound: Registry) -> None:
    (_, third) = catalog.show(sound, "sw").versions
    sound.store.delete(third.weights_digest)
    report = fsck(sound, quick=True, repair=True)
    assert [(finding.code, finding.subject) for finding in report.broken] == [("blob_missing", "sw@3")]
    assert "again" in report.broken[0].message
    publish_made(sound, "sw", seed=2)
    assert fsck(sound).is_sound


def test_repair_writes_lineage_anew(sound: Registry) -> None:
    before = lineage_of(sound, "ner", 2)
    by_hand(sound, "UPDATE version_labels SET label = 'B-LOC' WHERE label = 'B-PER' AND number = 2")
    assert codes(fsck(sound)) == [("lineage_differs", "ner@2")]
    report = fsck(sound, repair=True)
    assert report.is_sound
    assert [finding.is_repaired for finding in report.findings] == [True]
    assert fsck(sound).findings == ()
    assert lineage_of(sound, "ner", 2) == before


def test_what_is_unnamed_is_no_fault_unless_it_is_damaged(sound: Registry) -> None:
    whole = sound.store.put(io.BytesIO(b"whole"))
    damaged = sound.store.put(io.BytesIO(b"damaged"))
    assert isinstance(sound.store, LocalStore)
    (sound.store.root / damaged.digest[:2] / damaged.digest[2:]).write_bytes(b"demaged")
    report = fsck(sound)
    assert {finding.code for finding in report.findings if not finding.is_broken} == {"orphan"}
    assert [(finding.code, finding.subject) for finding in report.broken] == [("orphan_corrupt", damaged.digest)]
    assert fsck(sound, repair=True).is_sound
    assert codes(fsck(sound)) == [("orphan", whole.digest)]


def test_damage_below_a_lease_is_left_to_who_publishes(sound: Registry) -> None:
    damaged = sound.store.put(io.BytesIO(b"damaged"))
    assert isinstance(sound.store, LocalStore)
    (sound.store.root / damaged.digest[:2] / damaged.digest[2:]).write_bytes(b"demaged")
    with leased(sound.database, damaged.digest, actor="somebody"):
        assert not fsck(sound, repair=True).is_sound
        assert sound.store.exists(damaged.digest)
    by_hand(sound, "DELETE FROM leases")


def test_what_comes_and_goes_is_told_and_cleared_up(sound: Registry) -> None:
    blob = sound.store.put(io.BytesIO(b"nobody's"))
    collect(sound, grace=DAY, delete=True)
    (sound.store.staging / "left.part").write_bytes(b"half")
    with leased(sound.database, blob.digest, actor="somebody"):
        let_pass(sound, timedelta(hours=2))
        sound.store.delete(blob.digest)
        by_hand(sound, f"INSERT INTO tombstones VALUES ('{'0' * 64}', '2026-01-01 00:00:00')")
        assert [code for code, _ in codes(fsck(sound))] == ["lease_expired", "tombstone_of_nothing", "leftover"]
        assert fsck(sound, repair=True).is_sound
        assert [code for code, _ in codes(fsck(sound))] == ["leftover"]


def test_a_sqlite_file_with_dangling_rows(sound: Registry) -> None:
    if not sound.database.is_embedded:
        with pytest.raises(IntegrityError):
            by_hand(sound, "UPDATE defaults SET adapter = 'nobody'")
        return
    database = open_database(f"sqlite:///{sound.database.name}")
    with database.writer.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        connection.exec_driver_sql("UPDATE defaults SET adapter = 'nobody'")
        connection.commit()
    database.close()
    assert [finding.code for finding in fsck(sound).broken] == ["database_damaged"]
