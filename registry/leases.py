"""Leases: what keeps a blob from being collected while the row that will name it is on its way.

Taken before the blob is written to its final key, given up in the transaction that commits the row. Collection takes
the same hold on the digest, so it either sees the lease or has finished before the blob is written.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from madx.manifest import Digest

from .database import Database, hold, now_of
from .errors import DatabaseUnavailable, LeaseLost
from .models import LeaseRow, TombstoneRow

LEASE = timedelta(hours=1)


@contextmanager
def leased(database: Database, digest: Digest, *, actor: str) -> Iterator[str]:
    """The id of a new lease on `digest`, which is gone afterwards, by `give_up` or because the block raised."""
    lease = secrets.token_hex(16)
    with database.session() as session:
        hold(session, digest)
        session.execute(delete(TombstoneRow).where(TombstoneRow.digest == digest))
        session.add(LeaseRow(id=lease, digest=digest, actor=actor, expires_at=now_of(session) + LEASE))
    try:
        yield lease
    except Exception:
        with suppress(DatabaseUnavailable), database.session() as session:
            session.execute(delete(LeaseRow).where(LeaseRow.id == lease))
        raise


def give_up(session: Session, lease: str) -> None:
    """In the transaction that commits the row. Raises `LeaseLost` where the lease has expired and was collected."""
    if not session.connection().execute(delete(LeaseRow).where(LeaseRow.id == lease)).rowcount:
        raise LeaseLost("publishing took longer than the lease on its weights; nothing was published, try again")


def expire_leases(database: Database, now: datetime) -> int:
    """Remove those that expired before `now`; how many there were. Who held one gets `LeaseLost`."""
    with database.session() as session:
        return session.connection().execute(delete(LeaseRow).where(LeaseRow.expires_at <= now)).rowcount
