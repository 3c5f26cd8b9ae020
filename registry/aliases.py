"""Aliases: movable pointers to versions. They move by compare-and-set on their revision, and every move is kept."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import journal
from .errors import PreconditionFailed
from .models import AliasMoveRow, AliasRow, VersionRow
from .references import AdapterRef, check_alias
from .registry import Registry
from .rows import alias_of, move_of
from .selection import find_adapter, find_alias, find_version, unknown_alias
from .values import Alias, AliasMove

Expected = int | Callable[[int], bool] | None


def get_alias(registry: Registry, name: str, alias: str) -> Alias:
    with registry.database.reading() as session:
        find_adapter(session, name)
        row = find_alias(session, name, alias)
        if row is None:
            raise unknown_alias(session, name, alias)
        return alias_of(row)


def list_aliases(registry: Registry, name: str) -> tuple[Alias, ...]:
    """By alias."""
    query = select(AliasRow).where(AliasRow.adapter == name, AliasRow.number.is_not(None)).order_by(AliasRow.alias)
    with registry.database.reading() as session:
        find_adapter(session, name)
        return tuple(alias_of(row) for row in session.scalars(query))


def move_alias(
    registry: Registry,
    name: str,
    alias: str,
    number: int,
    *,
    expected: Expected = None,
    actor: str = journal.LOCAL_ACTOR,
) -> Alias:
    """Compare and set. `expected` is the alias's present revision, 0 for "not there yet", None for "whatever it is", or
    says of a present revision whether it will do.

    Raises `PreconditionFailed`. Pointing an alias where it points already changes nothing.
    """
    check_alias(alias)
    with registry.database.session() as session:
        find_adapter(session, name, lock=True)
        find_version(session, AdapterRef(name=name, number=number), None)
        row = session.get(AliasRow, (name, alias))
        _check_expected(row, name, alias, expected)
        if row is None or row.number != number:
            row = _moved(session, row, name=name, alias=alias, number=number, actor=actor)
        return alias_of(row)


def remove_alias(
    registry: Registry, name: str, alias: str, *, expected: Expected = None, actor: str = journal.LOCAL_ACTOR
) -> None:
    """Its history stays. `expected` as for `move_alias`. Raises `UnknownAlias` or `PreconditionFailed`."""
    with registry.database.session() as session:
        find_adapter(session, name, lock=True)
        row = find_alias(session, name, alias)
        if row is None:
            raise unknown_alias(session, name, alias)
        _check_expected(row, name, alias, expected)
        _moved(session, row, name=name, alias=alias, number=None, actor=actor)


def _check_expected(row: AliasRow | None, name: str, alias: str, expected: Expected) -> None:
    revision = 0 if row is None or row.number is None else row.revision
    holds = expected is None or (expected(revision) if callable(expected) else expected == revision)
    if not holds:
        state = f"is at revision {revision}" if revision else "is not there"
        raise PreconditionFailed(f"alias {name}@{alias} {state}: somebody moved it; look again", revision=revision)


def _moved(
    session: Session, row: AliasRow | None, *, name: str, alias: str, number: int | None, actor: str
) -> AliasRow:
    now = datetime.now(UTC)
    previous = None if row is None else row.number
    if row is None:
        row = AliasRow(adapter=name, alias=alias, number=number, revision=1, moved_at=now)
        session.add(row)
    else:
        row.number, row.revision, row.moved_at = number, row.revision + 1, now
    session.flush()
    session.add(
        AliasMoveRow(adapter=name, alias=alias, revision=row.revision, number=number, actor=actor, moved_at=now)
    )
    journal.record(
        session,
        actor=actor,
        action="alias.removed" if number is None else "alias.moved",
        subject=f"{name}@{alias}",
        from_digest=_digest(session, name, previous),
        to_digest=_digest(session, name, number),
        number=number,
        previous=previous,
    )
    return row


def _digest(session: Session, name: str, number: int | None) -> str | None:
    return None if number is None else session.get_one(VersionRow, (name, number)).manifest_digest


def alias_history(registry: Registry, name: str, alias: str) -> tuple[AliasMove, ...]:
    """Oldest first, with removals; empty where there never was such an alias."""
    query = select(AliasMoveRow).where(AliasMoveRow.adapter == name, AliasMoveRow.alias == alias)
    with registry.database.reading() as session:
        find_adapter(session, name)
        return tuple(move_of(row) for row in session.scalars(query.order_by(AliasMoveRow.revision)))
