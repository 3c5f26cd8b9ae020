"""Audit and events."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from .base import SEQUENCE, Table


class AuditRow(Table):
    """Who did what, for people; of a change, from which digest to which. Never deleted."""

    __tablename__ = "audit"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200), index=True)
    from_digest: Mapped[str | None] = mapped_column(String(64))
    to_digest: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]]


class EventRow(Table):
    """What changed, in order, for programs that read on from the last `id` they saw."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True)
    at: Mapped[datetime]
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(200))
    detail: Mapped[dict[str, Any]]
