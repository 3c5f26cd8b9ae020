"""Lets time pass for what the registry keeps for a while, without waiting for it."""

import os
from datetime import timedelta

from sqlalchemy import select

from registry.database import Database
from registry.models import LeaseRow, ReplyRow, TombstoneRow, UploadRow, VersionRow
from registry.registry import Registry

_MOMENTS = (
    (LeaseRow, "expires_at"),
    (ReplyRow, "expires_at"),
    (TombstoneRow, "marked_at"),
    (UploadRow, "expires_at"),
    (VersionRow, "deleted_at"),
)


def let_pass(registry: Registry, span: timedelta) -> None:
    """Everything is `span` older: leases, replies, tombstones, uploads, deletions, and staged files."""
    age_rows(registry.database, span)
    for path in registry.store.staging.rglob("*") if registry.store.staging.exists() else ():
        if path.is_file():
            status = path.stat()
            os.utime(path, (status.st_atime, status.st_mtime - span.total_seconds()))


def age_rows(database: Database, span: timedelta) -> None:
    with database.session() as session:
        for table, column in _MOMENTS:
            for row in session.scalars(select(table)):
                moment = getattr(row, column)
                if moment is not None:
                    setattr(row, column, moment - span)
