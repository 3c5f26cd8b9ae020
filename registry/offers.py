"""What would run for a language or task on a backbone where a request names no adapter: for one, or for all at once.

However many adapters there are, a fixed number of queries; `selection` turns the answer for one into a version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, String, and_, cast, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from madx.manifest import Kind

from .models import AdapterRow, AliasRow, DefaultRow, LabelRow, VersionRow
from .references import PRODUCTION
from .registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that its adapter's bare name stands for. `key` is its language or task."""

    key: str
    name: str
    number: int

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """All that could run for `key`, by name, and what does; None where a request must name an adapter.

    A default that names a version or an alias may choose what is no candidate.
    """

    key: str
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None


def list_offers(registry: Registry, *, kind: Kind, fingerprint: str) -> tuple[Offer, ...]:
    """For every language or task that something runs for on this backbone, by key."""
    with registry.database.reading() as session:
        candidates = find_candidates(session, kind, fingerprint)
        defaults = _defaults(session, kind, fingerprint)
    fitting = {key: tuple(group) for key, group in groupby(candidates, key=lambda candidate: candidate.key)}
    keys = {*fitting, *(key for key, default in defaults.items() if default.number is not None)}
    return tuple(_offer(key, fitting.get(key, ()), defaults.get(key)) for key in sorted(keys))


def labels_of(registry: Registry, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """Those that the heads of any of these have: in the order of the first head that has them, by name."""
    versions = [(candidate.name, candidate.number) for candidate in candidates]
    query = (
        select(LabelRow.label)
        .where(tuple_(LabelRow.adapter, LabelRow.number).in_(versions))
        .order_by(LabelRow.adapter, LabelRow.number, LabelRow.position)
    )
    with registry.database.reading() as session:
        return tuple(dict.fromkeys(session.scalars(query)))


def key_column(kind: Kind) -> ColumnElement[str | None]:
    column = AdapterRow.language if kind == "language" else AdapterRow.task
    return column.expression


def find_candidates(session: Session, kind: Kind, fingerprint: str, *, key: str | None = None) -> tuple[Candidate, ...]:
    """By key and name: what the bare name of each adapter stands for, if that is made for this backbone."""
    column = key_column(kind)
    live = aliased(VersionRow)
    newest = (
        select(func.max(live.number))
        .where(live.adapter == AdapterRow.name, *_runs(live, fingerprint))
        .scalar_subquery()
    )
    production = and_(AliasRow.adapter == AdapterRow.name, AliasRow.alias == PRODUCTION)
    query = (
        select(column, AdapterRow.name, VersionRow.number)
        .outerjoin(AliasRow, production)
        .join(VersionRow, VersionRow.adapter == AdapterRow.name)
        .where(AdapterRow.kind == kind, *_runs(VersionRow, fingerprint))
        .where(VersionRow.number == func.coalesce(AliasRow.number, newest))
    )
    query = query.where(column.is_not(None) if key is None else column == key)
    found = [Candidate(key=str(of), name=name, number=number) for of, name, number in session.execute(query)]
    return tuple(sorted(found, key=lambda candidate: (candidate.key, candidate.name)))


def _runs(version: type[VersionRow], fingerprint: str) -> Sequence[ColumnElement[bool]]:
    return version.deleted_at.is_(None), version.fingerprint == fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class _Default:
    """`number` is what its alias or number stands for now, if that runs; None for a bare name, too."""

    name: str
    is_bare: bool
    number: int | None


def _defaults(session: Session, kind: Kind, fingerprint: str) -> dict[str, _Default]:
    """By key."""
    alias = and_(AliasRow.adapter == DefaultRow.adapter, AliasRow.alias == DefaultRow.selector)
    selected = or_(VersionRow.number == AliasRow.number, cast(VersionRow.number, String) == DefaultRow.selector)
    version = and_(VersionRow.adapter == DefaultRow.adapter, *_runs(VersionRow, fingerprint), selected)
    query = (
        select(DefaultRow.key, DefaultRow.adapter, DefaultRow.selector, VersionRow.number)
        .outerjoin(AliasRow, alias)
        .outerjoin(VersionRow, version)
        .where(DefaultRow.kind == kind, DefaultRow.fingerprint == fingerprint)
    )
    return {
        key: _Default(name=name, is_bare=selector is None, number=number)
        for key, name, selector, number in session.execute(query)
    }


def _offer(key: str, candidates: tuple[Candidate, ...], default: _Default | None) -> Offer:
    """As `selection.choose_version` decides."""
    numbers = {candidate.name: candidate.number for candidate in candidates}
    chosen: Candidate | None = None
    if default is not None and (len(candidates) != 1 or default.name in numbers):
        number = numbers.get(default.name) if default.is_bare else default.number
        chosen = None if number is None else Candidate(key=key, name=default.name, number=number)
    elif len(candidates) == 1:
        (chosen,) = candidates
    return Offer(key=key, candidates=candidates, chosen=chosen)
