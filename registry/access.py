"""API keys: who may do what. The server asks `authenticate`; people make keys with `glossa keys`.

A key reads `glossa_<id>_<secret>`. The id is public and names it everywhere; of the secret, 256 random bits, only the
sha256 is kept, which needs no salt and no slow hash.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal, cast, get_args

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from . import journal
from .database import now_of
from .errors import InvalidKey, NoKey, NotAllowed, UnknownKey
from .models import KeyRow
from .pages import page_of, page_size, position_of
from .registry import Registry
from .values import Page

Role = Literal["read", "predict", "write", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""

TOUCHED_EVERY = timedelta(minutes=1)
_KEY = re.compile(r"glossa_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_PATTERN = re.compile(r"[a-z0-9*][a-z0-9._*-]{0,63}")
_LONGEST_NAME = 100
_LONGEST_VALID = timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`pattern` limits which adapters a `write` key writes: `*` stands for any letters. Holds nothing secret."""

    id: str
    name: str
    role: Role
    pattern: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def actor(self) -> str:
        """How the audit names whoever used it."""
        return f"{self.name} (key {self.id})"

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)

    def may_write(self, name: str) -> bool:
        return self.pattern is None or _matches(self.pattern, name)


def _matches(pattern: str, name: str) -> bool:
    """`fnmatch` never goes back to an earlier `*`, as a plain expression does: many of them would take it years."""
    return fnmatchcase(name, pattern)  # its other special signs are in no pattern


def create_key(
    registry: Registry,
    *,
    name: str,
    role: Role,
    pattern: str | None = None,
    valid_for: timedelta | None = None,
    actor: str = journal.LOCAL_ACTOR,
) -> tuple[Key, str]:
    """The key and its text, which nobody can show again. Raises `InvalidKey` with the field."""
    _check(name, role, pattern, valid_for)
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    with registry.database.session() as session:
        now = now_of(session)
        row = KeyRow(
            id=key_id,
            name=name,
            secret_digest=_digest(secret),
            role=role,
            pattern=pattern,
            created_by=actor,
            created_at=now,
            expires_at=None if valid_for is None else now + valid_for,
        )
        session.add(row)
        session.flush()
        journal.record(
            session, actor=actor, action="key.created", subject=key_id, name=name, role=role, pattern=pattern
        )
        key = _key_of(row)
    return key, f"glossa_{key_id}_{secret}"


def _check(name: str, role: str, pattern: str | None, valid_for: timedelta | None) -> None:
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or not name.strip():
        raise InvalidKey(f"a key's name has 1 to {_LONGEST_NAME} printable characters", field="name")
    if role not in ROLES:
        raise InvalidKey(f"{role!r} is no role; choose {', '.join(ROLES)}", field="role")
    if pattern is not None and role != "write":
        raise InvalidKey("names limit what a key may write; give them to a key of the role write", field="names")
    if pattern is not None and _PATTERN.fullmatch(pattern) is None:
        raise InvalidKey(f"{pattern!r} is no pattern of adapter names; write something like sw-*", field="names")
    if valid_for is not None and not timedelta() < valid_for <= _LONGEST_VALID:
        raise InvalidKey(f"a key is valid for up to {_LONGEST_VALID.days} days", field="expires_in_days")


def list_keys(registry: Registry, *, cursor: str | None = None, limit: int = 50) -> Page[Key]:
    """All that ever were, newest first. Raises `InvalidCursor`."""
    query = select(KeyRow).order_by(KeyRow.created_at.desc(), KeyRow.id)
    if cursor is not None:
        last = str(position_of(cursor, str, "keys"))
        then = select(KeyRow.created_at).where(KeyRow.id == last).scalar_subquery()
        query = query.where(or_(KeyRow.created_at < then, and_(KeyRow.created_at == then, KeyRow.id > last)))
    size = page_size(limit)
    with registry.database.reading() as session:
        found = [_key_of(row) for row in session.scalars(query.limit(size + 1))]
    return page_of(found, size, lambda key: key.id, "keys")


def revoke_key(registry: Registry, key_id: str, *, actor: str = journal.LOCAL_ACTOR) -> Key:
    """For ever. One that is revoked already stays as it is. Raises `UnknownKey`."""
    with registry.database.session() as session:
        row = session.get(KeyRow, key_id, with_for_update=True)
        if row is None:
            raise UnknownKey(f"no key {key_id!r}; `glossa keys list` shows their ids")
        if row.revoked_at is None:
            row.revoked_at = now_of(session)
            session.flush()
            journal.record(session, actor=actor, action="key.revoked", subject=key_id, name=row.name)
        return _key_of(row)


def authenticate(registry: Registry, text: str) -> Key:
    """The key that `text` is. Raises `NoKey`, the same for what is malformed, unknown, expired and revoked."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise _refused()
    key_id, secret = found.groups()
    with registry.database.reading() as session:
        row = session.scalar(select(KeyRow).where(KeyRow.id == key_id, *_usable(session)))
        expected = "" if row is None else row.secret_digest
        if not hmac.compare_digest(expected, _digest(secret)) or row is None:
            raise _refused()
        return _key_of(row)


def touch(registry: Registry, key: Key) -> None:
    """Write down that it was used, at most once in `TOUCHED_EVERY`. It is no change that the audit knows."""
    with registry.database.session() as session:
        now = now_of(session)
        long_ago = or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at <= now - TOUCHED_EVERY)
        session.execute(update(KeyRow).where(KeyRow.id == key.id, long_ago).values(last_used_at=now))


def has_usable_key(registry: Registry) -> bool:
    with registry.database.reading() as session:
        return session.scalar(select(KeyRow.id).where(*_usable(session)).limit(1)) is not None


def check_may_write(key: Key, name: str) -> None:
    """Raises `NotAllowed`."""
    if not key.may_write(name):
        raise NotAllowed(f"this key writes adapters named {key.pattern}, not {name!r}")


def _usable(session: Session) -> tuple[ColumnElement[bool], ...]:
    return KeyRow.revoked_at.is_(None), or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now_of(session))


def _refused() -> NoKey:
    return NoKey("this needs a key that is valid; send it as Authorization: Bearer KEY")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key_of(row: KeyRow) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        role=cast(Role, row.role),
        pattern=row.pattern,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
