"""Answers to requests that carry an Idempotency-Key: each is given once and kept, so that a repetition gets it again.

The first request claims the key, for as long as its lease lasts: one whose server died can be taken over then. What it
finds out is kept for a day. Nothing is kept of a request that was refused or failed: it may be tried again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.orm import Session

from .database import insert_if_absent, now_of
from .errors import IdempotencyMismatch, InProgress
from .models import ReplyRow
from .registry import Registry

LEASE = timedelta(minutes=5)
LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`body` is JSON text."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to answer first. `expires_at` tells it from a later one on the same key."""

    actor: str
    key: str
    request_digest: str
    expires_at: datetime


def claim(registry: Registry, *, actor: str, key: str, request_digest: str) -> Claim | Reply:
    """The reply that was given already, or the claim on giving it.

    Raises `IdempotencyMismatch` where `key` came with another request, and `InProgress` while the first one runs.
    """
    with registry.database.session() as session:
        now = now_of(session)
        expired = delete(ReplyRow).where(ReplyRow.actor == actor, ReplyRow.key == key, ReplyRow.expires_at <= now)
        session.execute(expired)
        mine = Claim(actor=actor, key=key, request_digest=request_digest, expires_at=now + LEASE)
        values = {"actor": actor, "key": key, "request_digest": request_digest, "expires_at": mine.expires_at}
        if insert_if_absent(session, ReplyRow, values):
            return mine
        row = session.get(ReplyRow, (actor, key))
        if row is None:  # given up by the other one since
            raise InProgress("the first request with this Idempotency-Key has just failed; try again")
        if row.request_digest != request_digest:
            raise IdempotencyMismatch("this Idempotency-Key came with another request; take a new one for each request")
        if row.status is None or row.content is None:
            raise InProgress("the first request with this Idempotency-Key is still running; try again later")
        return _reply_of(row.status, row.content)


def renew(registry: Registry, held: Claim) -> Claim:
    """For a request that takes long. Where another has taken over meanwhile, the claim stays what it was: lost."""
    with registry.database.session() as session:
        expires_at = now_of(session) + LEASE
        return replace(held, expires_at=expires_at) if _update(session, held, expires_at=expires_at) else held


def keep(registry: Registry, held: Claim, reply: Reply) -> None:
    """Does nothing where another has taken over meanwhile; its reply is kept then."""
    content = json.dumps({"body": reply.body, "headers": dict(reply.headers)}).encode()
    with registry.database.session() as session:
        _update(session, held, status=reply.status, content=content, expires_at=now_of(session) + LIFE)


def give_up(registry: Registry, held: Claim) -> None:
    """The request was refused or failed, so another may come with the same key."""
    with registry.database.session() as session:
        session.execute(delete(ReplyRow).where(*_still(held)))


def expire_replies(registry: Registry, now: datetime) -> int:
    """How many were removed. Each is void from its time on, removed or not."""
    with registry.database.session() as session:
        return session.connection().execute(delete(ReplyRow).where(ReplyRow.expires_at <= now)).rowcount


def _update(session: Session, held: Claim, **values: object) -> bool:
    return bool(session.connection().execute(update(ReplyRow).where(*_still(held)).values(**values)).rowcount)


def _still(held: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        ReplyRow.actor == held.actor,
        ReplyRow.key == held.key,
        ReplyRow.status.is_(None),
        ReplyRow.expires_at == held.expires_at,
    )


def _reply_of(status: int, content: bytes) -> Reply:
    kept = json.loads(content)
    return Reply(status=status, body=kept["body"], headers=kept["headers"])
