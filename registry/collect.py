"""Garbage collection: weights that no version names any more, and what crashes and the past left lying about.

Mark, wait, look again under the lock, delete. A blob that neither a version nor a lease names gets a tombstone; once
that is older than the grace period, one transaction takes the hold that `leases` takes, looks at leases and versions
again, and deletes. Versions that were deleted softly lose their claim after the same period.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy import delete as delete_from
from sqlalchemy.orm import Session

from madx.manifest import Digest

from . import journal
from .database import hold, insert_if_absent, now_of
from .leases import LEASE, expire_leases
from .models import LeaseRow, ReplyRow, TombstoneRow, VersionRow
from .registry import Registry
from .replies import expire_replies
from .selection import find_adapter
from .stores import Blob, Leftover
from .uploads import expire_uploads, expired_uploads
from .values import Upload

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a sweep did or, with `dry`, would have done.

    `purged`: references of deleted versions that gave up their weights. `collected`: blobs that were deleted. `marked`:
    blobs seen without a claim for the first time. `waiting`: marked by an earlier sweep, not long enough ago. Of
    `uploads`, `leases` and `replies` it is those that have expired.
    """

    dry: bool
    grace: timedelta
    purged: tuple[str, ...]
    collected: tuple[Blob, ...]
    marked: tuple[Blob, ...]
    waiting: tuple[Blob, ...]
    leftovers: tuple[Leftover, ...]
    uploads: tuple[Upload, ...]
    leases: int
    replies: int

    @property
    def freed_bytes(self) -> int:
        blobs = sum(blob.size_bytes for blob in self.collected)
        leftovers = sum(leftover.size_bytes for leftover in self.leftovers)
        return blobs + leftovers + sum(upload.received_bytes for upload in self.uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unclaimed:
    """Blobs that neither a version nor a lease names, by what their tombstones say."""

    marked: tuple[Blob, ...]
    waiting: tuple[Blob, ...]
    due: tuple[Blob, ...]


def collect(registry: Registry, *, grace: timedelta, delete: bool, actor: str = journal.LOCAL_ACTOR) -> Report:
    """One sweep; without `delete` a rehearsal that writes nothing. May run beside publishing and beside other sweeps.

    Raises `StoreUnavailable` or `DatabaseUnavailable`. A store that cannot be listed whole ends the sweep before
    anything is deleted.
    """
    # Listed before SQL is asked: whatever is in the list has had its lease or its row by then.
    held = {blob.digest: blob for blob in registry.store.list()}
    with registry.database.reading() as session:
        now = now_of(session)
        cutoff = now - grace
        purged = _deleted_before(session, cutoff)
    if delete:
        purged = [version for version in purged if _purge(registry, *version, cutoff=cutoff, actor=actor)]
    unclaimed = _look(registry, held, cutoff, purged=not delete)
    collected = unclaimed.due
    if delete:
        _mark(registry, unclaimed)
        collected = tuple(
            blob for blob in collected if delete_unclaimed(registry, blob, marked_before=cutoff, actor=actor)
        )
    return Report(
        dry=not delete,
        grace=grace,
        purged=tuple(f"{name}@{number}" for name, number in purged),
        collected=collected,
        marked=unclaimed.marked,
        waiting=unclaimed.waiting,
        leftovers=_leftovers(registry, grace, delete=delete),
        uploads=expire_uploads(registry, now) if delete else expired_uploads(registry, now),
        leases=expire_leases(registry.database, now) if delete else _expired(registry, LeaseRow),
        replies=expire_replies(registry, now) if delete else _expired(registry, ReplyRow),
    )


def delete_unclaimed(registry: Registry, blob: Blob, *, marked_before: datetime | None, actor: str) -> bool:
    """Delete `blob` unless a lease or a version names it by now, or its tombstone is gone or younger.

    The one place where bytes are deleted. With `marked_before` None no tombstone is asked for. Whoever is about to
    write the blob waits for the hold until this transaction has ended, and then writes it anew.
    """
    with registry.database.session() as session:
        hold(session, blob.digest)
        if marked_before is not None and not _is_marked(session, blob.digest, marked_before):
            return False
        if _is_claimed(session, blob.digest):
            return False
        registry.store.delete(blob.digest)
        session.execute(delete_from(TombstoneRow).where(TombstoneRow.digest == blob.digest))
        journal.record(session, actor=actor, action="blob.collected", subject=blob.digest, size_bytes=blob.size_bytes)
    return True


def _is_marked(session: Session, digest: Digest, before: datetime) -> bool:
    marked = select(TombstoneRow.digest).where(TombstoneRow.digest == digest, TombstoneRow.marked_at <= before)
    return session.scalar(marked) is not None


def _is_claimed(session: Session, digest: Digest) -> bool:
    """Leases first, versions second: the transaction that commits a version gives up its lease, so one that ends
    between the two looks has been seen by one of them.
    """
    expired = (LeaseRow.digest == digest, LeaseRow.expires_at <= now_of(session))
    session.execute(delete_from(LeaseRow).where(*expired))
    if session.scalar(select(LeaseRow.id).where(LeaseRow.digest == digest).limit(1)) is not None:
        return True
    named = select(VersionRow.number).where(VersionRow.weights_digest == digest, VersionRow.purged_at.is_(None))
    return session.scalar(named.limit(1)) is not None


def _deleted_before(session: Session, cutoff: datetime) -> list[tuple[str, int]]:
    query = select(VersionRow.adapter, VersionRow.number).where(_purgeable(cutoff))
    return [(name, number) for name, number in session.execute(query.order_by(VersionRow.adapter, VersionRow.number))]


def _purgeable(cutoff: datetime) -> ColumnElement[bool]:
    return and_(VersionRow.deleted_at <= cutoff, VersionRow.purged_at.is_(None))


def _purge(registry: Registry, name: str, number: int, *, cutoff: datetime, actor: str) -> bool:
    """Whether the version was still deleted once its adapter was locked; restoring it takes the same lock."""
    with registry.database.session() as session:
        find_adapter(session, name, lock=True)
        mine = (VersionRow.adapter == name, VersionRow.number == number)
        row = session.scalar(select(VersionRow).where(*mine, _purgeable(cutoff)))
        if row is None:
            return False
        row.purged_at = now_of(session)
        journal.record(
            session,
            actor=actor,
            action="version.purged",
            subject=f"{name}@{number}",
            from_digest=row.manifest_digest,
            weights_digest=row.weights_digest,
        )
    return True


def _look(registry: Registry, held: Mapping[Digest, Blob], cutoff: datetime, *, purged: bool) -> _Unclaimed:
    """With `purged`, as if the versions that are due had been purged already."""
    naming: ColumnElement[bool] = VersionRow.purged_at.is_(None)
    if purged:
        naming = and_(naming, or_(VersionRow.deleted_at.is_(None), VersionRow.deleted_at > cutoff))
    with registry.database.reading() as session:
        claimed = set(session.scalars(select(VersionRow.weights_digest).where(naming)))
        claimed |= set(session.scalars(select(LeaseRow.digest).where(LeaseRow.expires_at > now_of(session))))
        marked_at = {row.digest: row.marked_at for row in session.scalars(select(TombstoneRow))}
    unclaimed = [blob for digest, blob in held.items() if digest not in claimed]
    known = [blob for blob in unclaimed if blob.digest in marked_at]
    return _Unclaimed(
        marked=tuple(blob for blob in unclaimed if blob.digest not in marked_at),
        waiting=tuple(blob for blob in known if marked_at[blob.digest] > cutoff),
        due=tuple(blob for blob in known if marked_at[blob.digest] <= cutoff),
    )


def _mark(registry: Registry, unclaimed: _Unclaimed) -> None:
    """Tombstones for what is new, and away with those of blobs that are in use again or gone."""
    right = {blob.digest for blob in (*unclaimed.waiting, *unclaimed.due)}
    with registry.database.reading() as session:
        wrong = [digest for digest in session.scalars(select(TombstoneRow.digest)) if digest not in right]
    for some in _portions(wrong):
        with registry.database.session() as session:
            session.execute(delete_from(TombstoneRow).where(TombstoneRow.digest.in_(some)))
    for some in _portions([blob.digest for blob in unclaimed.marked]):
        with registry.database.session() as session:
            now = now_of(session)
            for digest in some:
                insert_if_absent(session, TombstoneRow, {"digest": digest, "marked_at": now})


def _portions(digests: list[str]) -> Iterable[list[str]]:
    """So that no transaction keeps other writers waiting for long."""
    return (digests[start : start + _AT_ONCE] for start in range(0, len(digests), _AT_ONCE))


def _leftovers(registry: Registry, grace: timedelta, *, delete: bool) -> tuple[Leftover, ...]:
    """What nobody has written to for the grace period, and never what a publish may still be looking at."""
    before = datetime.now(UTC) - max(grace, LEASE)
    leftovers = tuple(registry.store.leftovers(before))
    for leftover in leftovers if delete else ():
        registry.store.remove_leftover(leftover)
    return leftovers


def _expired(registry: Registry, table: type[LeaseRow] | type[ReplyRow]) -> int:
    with registry.database.reading() as session:
        expired = select(func.count()).select_from(table).where(table.expires_at <= now_of(session))
        return session.scalar(expired) or 0
