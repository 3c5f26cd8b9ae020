"""Backbones, adapters with their versions, aliases and defaults."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from .base import NAME, Table


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

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    language: Mapped[str | None] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]


class VersionRow(Table):
    """`manifest` is stored byte for byte; `deleted_at` marks a soft delete, `purged_at` that collection has let go of
    the weights. Rows stay, so numbers are never reused.
    """

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("adapter", "manifest_digest"),
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint("size_bytes >= 0", name="size_bytes"),
        CheckConstraint("purged_at IS NULL OR deleted_at IS NOT NULL", name="purged"),
        Index(
            "ix_versions_live",
            "adapter",
            "fingerprint",
            "number",
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    adapter: Mapped[str] = mapped_column(NAME, ForeignKey("adapters.name"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    manifest: Mapped[bytes] = mapped_column(LargeBinary)
    manifest_digest: Mapped[str] = mapped_column(String(64), index=True)
    weights_digest: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    fingerprint: Mapped[str] = mapped_column(ForeignKey("backbones.fingerprint"), index=True)
    job: Mapped[str | None] = mapped_column(String(200), index=True)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class AliasRow(Table):
    """A movable pointer. `revision` counts its moves from 1 and is what compare-and-set compares.

    A removed one keeps its row without a number, so that a revision never comes twice.
    """

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(["adapter", "number"], ["versions.adapter", "versions.number"]),
        CheckConstraint("revision >= 1", name="revision"),
    )

    adapter: Mapped[str] = mapped_column(NAME, primary_key=True)
    alias: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int | None]
    revision: Mapped[int]
    moved_at: Mapped[datetime]


class AliasMoveRow(Table):
    """The history of an alias: one row for each revision; no number where it was removed."""

    __tablename__ = "alias_history"
    __table_args__ = (
        ForeignKeyConstraint(["adapter", "alias"], ["aliases.adapter", "aliases.alias"]),
        ForeignKeyConstraint(["adapter", "number"], ["versions.adapter", "versions.number"]),
    )

    adapter: Mapped[str] = mapped_column(NAME, primary_key=True)
    alias: Mapped[str] = mapped_column(NAME, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int | None]
    actor: Mapped[str] = mapped_column(String(200))
    moved_at: Mapped[datetime]


class DefaultRow(Table):
    """Which adapter runs where several fit. `key` is a language or a task, `selector` what follows the `@`."""

    __tablename__ = "defaults"
    __table_args__ = (CheckConstraint("kind IN ('language', 'task')", name="kind"),)

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(ForeignKey("backbones.fingerprint"), primary_key=True)
    adapter: Mapped[str] = mapped_column(NAME, ForeignKey("adapters.name"))
    selector: Mapped[str | None] = mapped_column(String(64))
    set_at: Mapped[datetime]
