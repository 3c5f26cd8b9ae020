"""What would run for a language or task on a backbone where a request names no adapter: for one, or for all at once.

However many adapters there are, a fixed number of queries; `selection` turns the answer for one into a version.
"""

from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import ColumnElement, Select, String, and_, cast, exists, func, or_, select
from sqlalchemy.orm import Session

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


def labels_of(registry: Registry, *, kind: Kind, key: str, fingerprint: str) -> tuple[str, ...]:
    """Those that any candidate's head has: in the order of the first head, by name, that has them."""
    running = _candidates(kind, fingerprint, key=key).subquery("running")
    mine = and_(LabelRow.adapter == running.c.name, LabelRow.number == running.c.number)
    query = select(LabelRow.label).join(running, mine).order_by(LabelRow.adapter, LabelRow.position)
    with registry.database.reading() as session:
        return tuple(dict.fromkeys(session.scalars(query)))


def key_column(kind: Kind) -> ColumnElement[str | None]:
    column = AdapterRow.language if kind == "language" else AdapterRow.task
    return column.expression


def find_candidates(session: Session, kind: Kind, fingerprint: str, *, key: str | None = None) -> tuple[Candidate, ...]:
    """By key and name: what the bare name of each adapter stands for, if that is made for this backbone."""
    rows = session.execute(_candidates(kind, fingerprint, key=key))
    found = [Candidate(key=str(key), name=name, number=number) for key, name, number in rows]
    return tuple(sorted(found, key=lambda candidate: (candidate.key, candidate.name)))


def _candidates(kind: Kind, fingerprint: str, *, key: str | None) -> Select[str | None, str, int]:
    """Key, name and number. Written so that every database begins at the few adapters and not at their versions."""
    column = key_column(kind)
    production = select(AliasRow.number).where(AliasRow.adapter == AdapterRow.name, AliasRow.alias == PRODUCTION)
    runs = VersionRow.deleted_at.is_(None), VersionRow.fingerprint == fingerprint
    newest = select(func.max(VersionRow.number)).where(VersionRow.adapter == AdapterRow.name, *runs)
    number = func.coalesce(production.scalar_subquery(), newest.scalar_subquery())
    named = (
        select(column.label("key"), AdapterRow.name.label("name"), number.label("number"))
        .where(AdapterRow.kind == kind, column.is_not(None) if key is None else column == key)
        .subquery("named")
    )
    version = exists().where(VersionRow.adapter == named.c.name, VersionRow.number == named.c.number, *runs)
    return select(named.c.key, named.c.name, named.c.number).where(version)


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
    runs = VersionRow.deleted_at.is_(None), VersionRow.fingerprint == fingerprint
    version = and_(VersionRow.adapter == DefaultRow.adapter, *runs, selected)
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
