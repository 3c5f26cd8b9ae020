"""The tables. Constraints have names by convention, so that migrations can speak of them; types suit SQLite and
PostgreSQL alike. `rows` turns rows into values; nothing outside the package sees a row.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("times in the registry carry a zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime, dict[str, Any]: JSON}


class BackboneRow(Table):
    """`config` is `madx.config.BackboneConfig` as JSON."""

    __tablename__ = "backbones"

    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), index=True)
    config: Mapped[dict[str, Any]]
    masked_lm: Mapped[bool]
    created_at: Mapped[datetime]


class AdapterRow(Table):
    """A name, with what it stands for: its kind, language and task never change."""

    __tablename__ = "adapters"
    __table_args__ = (
        CheckConstraint("kind IN ('language', 'task')", name="kind"),
        CheckConstraint("kind <> 'language' OR language IS NOT NULL", name="language_named"),
        CheckConstraint("(kind = 'task') = (task IS NOT NULL)", name="task_named"),
        Index(None, "kind", "language", "task"),
    )

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    language: Mapped[str | None] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]


class VersionRow(Table):
    """`manifest` is stored byte for byte; `deleted_at` marks a soft delete, numbers are never reused."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("adapter", "manifest_digest"),
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint("size_bytes >= 0", name="size_bytes"),
    )

    adapter: Mapped[str] = mapped_column(ForeignKey("adapters.name"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    manifest: Mapped[bytes] = mapped_column(LargeBinary)
    manifest_digest: Mapped[str] = mapped_column(String(64))
    weights_digest: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    fingerprint: Mapped[str] = mapped_column(ForeignKey("backbones.fingerprint"), index=True)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class AliasRow(Table):
    """A movable pointer. `revision` counts its moves from 1 and is what compare-and-set compares."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(["adapter", "number"], ["versions.adapter", "versions.number"]),
        CheckConstraint("revision >= 1", name="revision"),
    )

    adapter: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    number: Mapped[int]
    revision: Mapped[int]
    moved_at: Mapped[datetime]


class AliasMoveRow(Table):
    """The history of an alias: one row for each revision."""

    __tablename__ = "alias_history"
    __table_args__ = (
        ForeignKeyConstraint(["adapter", "alias"], ["aliases.adapter", "aliases.alias"]),
        ForeignKeyConstraint(["adapter", "number"], ["versions.adapter", "versions.number"]),
    )

    adapter: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int]
    actor: Mapped[str] = mapped_column(String(200))
    moved_at: Mapped[datetime]


class DefaultRow(Table):
    """Which adapter runs where several fit. `key` is a language or a task, `selector` what follows the `@`."""

    __tablename__ = "defaults"
    __table_args__ = (CheckConstraint("kind IN ('language', 'task')", name="kind"),)

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(ForeignKey("backbones.fingerprint"), primary_key=True)
    adapter: Mapped[str] = mapped_column(ForeignKey("adapters.name"))
    selector: Mapped[str | None] = mapped_column(String(64))
    set_at: Mapped[datetime]


class AuditRow(Table):
    """Who did what, for people. Never deleted."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200), index=True)
    detail: Mapped[dict[str, Any]]


class EventRow(Table):
    """What changed, for running servers, which read on from the last `id` they saw."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True)
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]
