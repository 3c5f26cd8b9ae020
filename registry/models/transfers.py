"""What is on its way: leases on blobs without a row yet, tombstones of those that nobody names, uploads, and the
answers that were given to repeated requests.
"""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import Table


class LeaseRow(Table):
    """Keeps a blob from collection between its writing and the commit of the row that names it."""

    __tablename__ = "leases"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    actor: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime]


class TombstoneRow(Table):
    """A blob that no row named at `marked_at`. Collection deletes it after a grace period, if that is still so."""

    __tablename__ = "tombstones"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    marked_at: Mapped[datetime]


class UploadRow(Table):
    """A resumable upload, whose bytes lie with the server that began it; `digest` is set when they are whole."""

    __tablename__ = "uploads"
    __table_args__ = (CheckConstraint("size_bytes >= 0", name="size_bytes"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    actor: Mapped[str] = mapped_column(String(200), index=True)
    digest: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ReplyRow(Table):
    """The answer to a request that carried an Idempotency-Key; no `status` while the first one is still running."""

    __tablename__ = "replies"

    actor: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)
