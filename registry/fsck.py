"""Looks at the whole registry: every row has its blob, every blob its digest, and SQL agrees with itself.

Reports; repairs only when asked, and then only what can be made again from what is whole. Lost or damaged weights
cannot: publishing the same version again heals them. May run beside everything else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy import delete, select

from madx.manifest import Digest

from . import journal
from .collect import delete_unclaimed
from .database import is_postgres, now_of
from .errors import BlobCorrupt, UnknownBlob
from .fsck_rows import Finding, check_adapter
from .leases import LEASE, expire_leases
from .lineage import rebuild_lineage
from .models import AdapterRow, LeaseRow, TombstoneRow, VersionRow
from .registry import Registry
from .selection import find_adapter
from .stores import Blob
from .stores.base import verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`num_versions` counts all rows, `num_blobs` what the store held, `hashed_bytes` what was read back."""

    findings: tuple[Finding, ...]
    num_versions: int
    num_blobs: int
    hashed_bytes: int

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What is still wrong."""
        return tuple(finding for finding in self.findings if finding.is_broken and not finding.is_repaired)

    @property
    def is_sound(self) -> bool:
        return not self.broken


@dataclass(slots=True)
class _Survey:
    """What the rows name, gathered adapter by adapter: of each blob its size and the versions that run on it."""

    num_versions: int = 0
    hashed_bytes: int = 0
    named: dict[Digest, tuple[int, list[str]]] = field(default_factory=dict)


def fsck(registry: Registry, *, quick: bool = False, repair: bool = False, actor: str = journal.LOCAL_ACTOR) -> Report:
    """With `quick`, blobs are measured but not read. Raises `StoreUnavailable` and `DatabaseUnavailable`.

    `repair` writes lineage anew from manifests, and deletes expired leases, tombstones of nothing, and damaged blobs
    that no version names.
    """
    held = {blob.digest: blob for blob in registry.store.list()}
    survey = _Survey()
    findings = [
        *_check_database(registry),
        *_check_rows(registry, survey),
        *_check_named(registry, held, survey, quick=quick),
        *_check_unnamed(registry, held, survey, quick=quick),
        *_passing(registry, held),
    ]
    if repair:
        findings = [_repaired(registry, finding, held, actor) for finding in findings]
    return Report(
        findings=tuple(findings),
        num_versions=survey.num_versions,
        num_blobs=len(held),
        hashed_bytes=survey.hashed_bytes,
    )


def _check_database(registry: Registry) -> Iterator[Finding]:
    """PostgreSQL looks after its own pages; a SQLite file is looked through."""
    with registry.database.reading() as session:
        if is_postgres(session):
            return
        for pragma in ("integrity_check", "foreign_key_check"):
            for row in session.connection().exec_driver_sql(f"PRAGMA {pragma}"):
                if tuple(row) != ("ok",):
                    message = f"{pragma}: {', '.join(map(str, row))}; restore it from a backup"
                    yield Finding(code="database_damaged", subject=registry.database.name, message=message)


def _check_rows(registry: Registry, survey: _Survey) -> Iterator[Finding]:
    with registry.database.reading() as session:
        names = session.scalars(select(AdapterRow.name).order_by(AdapterRow.name)).all()
    for name in names:
        with registry.database.reading() as session:
            query = select(VersionRow).where(VersionRow.adapter == name).order_by(VersionRow.number)
            rows = session.scalars(query).all()
            survey.num_versions += len(rows)
            for row in rows:
                if row.purged_at is None:
                    _, references = survey.named.setdefault(Digest(row.weights_digest), (row.size_bytes, []))
                    references.append(f"{name}@{row.number}")
            yield from check_adapter(session, session.get_one(AdapterRow, name), rows)


def _check_named(registry: Registry, held: Mapping[Digest, Blob], survey: _Survey, *, quick: bool) -> Iterator[Finding]:
    for digest, (size_bytes, references) in survey.named.items():
        named = Blob(digest=digest, size_bytes=size_bytes)
        found = _lasting_damage(registry, named, held.get(digest), survey, quick=quick)
        if found is not None:
            code, what = found
            advice = "push the same folder, or train it, again: publishing the same version heals it"
            for reference in references:
                yield Finding(code=code, subject=reference, message=f"its weights {digest} {what}; {advice}")


def _lasting_damage(
    registry: Registry, blob: Blob, listed: Blob | None, survey: _Survey, *, quick: bool
) -> tuple[str, str] | None:
    """What is wrong twice while a version names the blob: between two looks it may be collected and published anew."""
    found = None
    for last in (listed, None):
        found = _damage(registry, blob, last, survey, quick=quick)
        if found is None or not _is_named(registry, blob.digest):
            return None
    return found


def _check_unnamed(
    registry: Registry, held: Mapping[Digest, Blob], survey: _Survey, *, quick: bool
) -> Iterator[Finding]:
    for digest, blob in held.items():
        if digest in survey.named:
            continue
        yield Finding(
            code="orphan", subject=digest, message="no version names it; `glossa gc --delete` takes it", is_broken=False
        )
        found = _damage(registry, blob, blob, survey, quick=quick)
        if found is not None and found[0] != "blob_missing":
            message = f"no version names these bytes, which {found[1]}; `glossa fsck --repair` deletes them"
            yield Finding(code="orphan_corrupt", subject=digest, message=message)


def _damage(
    registry: Registry, blob: Blob, listed: Blob | None, survey: _Survey, *, quick: bool
) -> tuple[str, str] | None:
    """A code and what is wrong, or None. What was not listed may have come since."""
    try:
        size_bytes = registry.store.size(blob.digest) if listed is None else listed.size_bytes
        if size_bytes != blob.size_bytes:
            return "blob_size", f"have {size_bytes} bytes, not {blob.size_bytes}"
        if not quick:
            survey.hashed_bytes += blob.size_bytes
            verify(registry.store, blob)
    except UnknownBlob:
        return "blob_missing", "are missing"
    except BlobCorrupt:
        return "blob_corrupt", "do not have the digest that they are stored under"
    return None


def _is_named(registry: Registry, digest: Digest) -> bool:
    named = select(VersionRow.number).where(VersionRow.weights_digest == digest, VersionRow.purged_at.is_(None))
    with registry.database.reading() as session:
        return session.scalar(named.limit(1)) is not None


def _passing(registry: Registry, held: Mapping[Digest, Blob]) -> Iterator[Finding]:
    """What comes and goes, for information."""
    with registry.database.reading() as session:
        now = now_of(session)
        for lease in session.scalars(select(LeaseRow).order_by(LeaseRow.expires_at)):
            state = "expired" if lease.expires_at <= now else "expires"
            yield Finding(
                code="lease_expired" if lease.expires_at <= now else "lease",
                subject=lease.digest,
                message=f"{lease.actor} is publishing it; the lease {state} {lease.expires_at:%Y-%m-%d %H:%M:%S} UTC",
                is_broken=False,
            )
        for tombstone in session.scalars(select(TombstoneRow).order_by(TombstoneRow.digest)):
            gone = Digest(tombstone.digest) not in held
            yield Finding(
                code="tombstone_of_nothing" if gone else "tombstone",
                subject=tombstone.digest,
                message=f"seen without a version at {tombstone.marked_at:%Y-%m-%d %H:%M:%S} UTC",
                is_broken=False,
            )
    for leftover in registry.store.leftovers(datetime.now(UTC) - LEASE):
        message = f"{leftover.size_bytes} bytes of a publish that broke off; `glossa gc --delete` removes them"
        yield Finding(code="leftover", subject=leftover.name, message=message, is_broken=False)


def _repaired(registry: Registry, finding: Finding, held: Mapping[Digest, Blob], actor: str) -> Finding:
    """The same finding, and whether something was done about it."""
    match finding.code:
        case "lineage_differs":
            name, _, number = finding.subject.partition("@")
            with registry.database.session() as session:
                find_adapter(session, name, lock=True)
                rebuild_lineage(session, name, int(number))
                journal.record(session, actor=actor, action="lineage.rebuilt", subject=finding.subject)
        case "orphan_corrupt":
            blob = held[Digest(finding.subject)]
            return replace(finding, is_repaired=delete_unclaimed(registry, blob, marked_before=None, actor=actor))
        case "lease_expired":
            expire_leases(registry.database, registry.database.now())
        case "tombstone_of_nothing":
            forgotten = delete(TombstoneRow).where(TombstoneRow.digest == finding.subject)
            with registry.database.session() as session:
                session.execute(forgotten)
        case _:
            return finding
    return replace(finding, is_repaired=True)
