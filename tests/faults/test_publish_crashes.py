"""Publishing breaks at every step, by stores that really fail: no row without its bytes, and a second try works."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import event, select

from madx.manifest import Digest
from registry import search
from registry.errors import BlobCorrupt, DatabaseUnavailable, StoreUnavailable
from registry.models import AdapterRow, AuditRow, EventRow, VersionRow
from registry.registry import Registry, open_registry
from registry.stores import BlobStore, Staged
from registry.stores.local import LocalStore
from tests.support.made_adapters import add_made_backbone, publish_made

pytestmark = pytest.mark.faults


class Crash(BaseException):
    """As a kill looks from inside: nothing may catch it as an error."""


class StagingFails(LocalStore):
    """The disk is full."""

    def stage(self, stream: BinaryIO, *, limit_bytes: int | None = None) -> Staged:
        class Full(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                raise Crash

        return super().stage(Full(), limit_bytes=limit_bytes)  # type: ignore[arg-type]


class RenameFails(LocalStore):
    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target.parent / "no such folder" / target.name)


class CrashesBeforeRename(LocalStore):
    def rename(self, source: Path, target: Path) -> None:
        raise Crash


class CrashesAfterRename(LocalStore):
    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        raise Crash


class LosesBytes(LocalStore):
    """The medium keeps the name and damages the content."""

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        target.write_bytes(target.read_bytes()[:-1])


class CannotReadBack(LocalStore):
    def open(self, digest: Digest, *, start: int = 0, length: int | None = None) -> BinaryIO:
        self._path(digest).chmod(0)
        self._path(digest).unlink()
        return super().open(digest, start=start, length=length)


STORES: list[tuple[Callable[[Path], BlobStore], type[BaseException]]] = [
    (StagingFails, Crash),
    (RenameFails, StoreUnavailable),
    (CrashesBeforeRename, Crash),
    (CrashesAfterRename, Crash),
    (LosesBytes, BlobCorrupt),
    (CannotReadBack, Exception),
]


def assert_no_trace_in_sql(registry: Registry) -> None:
    with registry.database.reading() as session:
        for table in (AdapterRow, VersionRow):
            assert session.scalars(select(table)).all() == []
        for journal in (AuditRow, EventRow):
            assert session.scalars(select(journal.action)).all() == ["backbone.added"]


@pytest.mark.parametrize(("make", "error"), STORES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_failing_store_leaves_no_row(
    tmp_path: Path, make: Callable[[Path], BlobStore], error: type[BaseException]
) -> None:
    registry = open_registry(tmp_path)
    add_made_backbone(registry)
    assert isinstance(registry.store, LocalStore)
    with pytest.raises(error):
        publish_made(replace(registry, store=make(registry.store.root)), "sw")
    assert_no_trace_in_sql(registry)
    assert not any((registry.store.root / "staging").iterdir())
    version = publish_made(registry, "sw")
    assert version.number == 1
    assert [(blob.digest, blob.size_bytes) for blob in registry.store.list()] == [
        (version.weights_digest, version.size_bytes)
    ]
    registry.close()


@pytest.mark.parametrize(
    "statement", ["INSERT INTO adapters", "INSERT INTO versions", "INSERT INTO audit", "INSERT INTO events"]
)
def test_a_failing_statement_leaves_no_row(tmp_path: Path, statement: str) -> None:
    registry = open_registry(tmp_path)
    add_made_backbone(registry)

    def crash(_connection: object, _cursor: object, sql: str, *_more: object) -> None:
        if sql.startswith(statement):
            raise Crash

    event.listen(registry.database.writer, "before_cursor_execute", crash)
    with pytest.raises(Crash):
        publish_made(registry, "sw")
    event.remove(registry.database.writer, "before_cursor_execute", crash)
    assert_no_trace_in_sql(registry)
    assert len(list(registry.store.list())) == 1
    assert publish_made(registry, "sw").number == 1
    registry.close()


def test_a_failing_commit_leaves_no_row(tmp_path: Path) -> None:
    registry = open_registry(tmp_path)
    add_made_backbone(registry)

    def crash(_connection: object) -> None:
        raise Crash

    event.listen(registry.database.writer, "commit", crash)
    with pytest.raises(Crash):
        publish_made(registry, "sw")
    event.remove(registry.database.writer, "commit", crash)
    assert_no_trace_in_sql(registry)
    assert publish_made(registry, "sw").number == 1
    registry.close()


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    registry = open_registry(tmp_path)
    add_made_backbone(registry)
    with registry.database.reader.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(DatabaseUnavailable, match="writable"):
        publish_made(registry, "sw")
    registry.database.close()
    assert search.search_adapters(registry).items == ()
    registry.close()
