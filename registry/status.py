"""What a registry holds, in numbers, and whether its tables are those of this version."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, true

from .database import newest_revision, revision_of, translated
from .models import (
    AdapterRow,
    AliasRow,
    BackboneRow,
    KeyRow,
    LeaseRow,
    Table,
    TombstoneRow,
    UploadRow,
    VersionRow,
)
from .registry import Registry

_COUNTED: dict[str, tuple[type[Table], ColumnElement[bool]]] = {
    "backbones": (BackboneRow, true()),
    "adapters": (AdapterRow, true()),
    "live versions": (VersionRow, VersionRow.deleted_at.is_(None)),
    "deleted versions": (VersionRow, VersionRow.deleted_at.is_not(None) & VersionRow.purged_at.is_(None)),
    "purged versions": (VersionRow, VersionRow.purged_at.is_not(None)),
    "aliases": (AliasRow, AliasRow.number.is_not(None)),
    "keys": (KeyRow, KeyRow.revoked_at.is_(None)),
    "leases": (LeaseRow, true()),
    "tombstones": (TombstoneRow, true()),
    "uploads": (UploadRow, true()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """`revision` is that of the tables, None where there are none; `newest` is this program's.

    `counts` and `weights_bytes`, of the versions that are not purged, are None unless the two revisions are the same.
    """

    database: str
    revision: str | None
    newest: str | None
    counts: dict[str, int] | None
    weights_bytes: int | None

    @property
    def is_current(self) -> bool:
        return self.revision == self.newest


def status_of(registry: Registry) -> Status:
    """Raises `DatabaseUnavailable`."""
    database = registry.database
    with translated(database.name):
        revision, newest = revision_of(database), newest_revision()
    counts, weights_bytes = _counted(registry) if revision == newest else (None, None)
    return Status(database=database.name, revision=revision, newest=newest, counts=counts, weights_bytes=weights_bytes)


def _counted(registry: Registry) -> tuple[dict[str, int], int]:
    kept = select(VersionRow.weights_digest, VersionRow.size_bytes).where(VersionRow.purged_at.is_(None)).distinct()
    with registry.database.reading() as session:
        counts = {
            name: session.scalar(select(func.count()).select_from(table).where(condition)) or 0
            for name, (table, condition) in _COUNTED.items()
        }
        return counts, int(session.scalar(select(func.sum(kept.subquery().c.size_bytes))) or 0)
