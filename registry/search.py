"""Lists of what there is, page by page: adapters by name, one adapter's versions newest first.

Manifests are never read here: what a list shows has columns of its own.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import ColumnElement, and_, exists, func, select, tuple_
from sqlalchemy.orm import Session

from madx.manifest import Digest, Kind, canonical_language

from .errors import UnknownVersion
from .models import AdapterRow, AliasRow, LabelRow, VersionRow
from .pages import MOST_PER_PAGE, cursor_at, position_of
from .registry import Registry
from .rows import alias_of
from .selection import find_adapter
from .values import AdapterSummary, Alias, Page, VersionSummary

_TAG_PREFIXES = ("", "B-", "I-", "E-", "S-", "L-", "U-")  # of the tagging schemes IOB2, IOBES and BILOU
_SUMMARY = (
    VersionRow.adapter,
    VersionRow.number,
    VersionRow.fingerprint,
    VersionRow.manifest_digest,
    VersionRow.weights_digest,
    VersionRow.size_bytes,
    VersionRow.created_at,
    VersionRow.deleted_at,
)
_IDENTITY = tuple_(VersionRow.adapter, VersionRow.number)
_Numbered = tuple[str, int]


def search_adapters(
    registry: Registry,
    *,
    kind: Kind | None = None,
    language: str | None = None,
    task: str | None = None,
    fingerprint: str | None = None,
    label: str | None = None,
    prefix: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AdapterSummary]:
    """Adapters by name that have a live version for `fingerprint` with `label`; both speak of the same version.

    `label` is as the head has it ("B-LOC") or its type ("LOC"); `prefix` is how the name begins. What a summary says
    of versions is said of those that fit. Raises `InvalidCursor`, and `InvalidConfig` where `language` is no tag.
    """
    language = None if language is None else canonical_language(language)
    fits = _fitting(fingerprint, label)
    query = select(AdapterRow).where(exists().where(VersionRow.adapter == AdapterRow.name, *fits))
    for column, value in ((AdapterRow.kind, kind), (AdapterRow.language, language), (AdapterRow.task, task)):
        if value is not None:
            query = query.where(column == value)
    if prefix:
        query = query.where(AdapterRow.name >= prefix, AdapterRow.name < f"{prefix}\uffff")
    filters = ("adapters", kind, language, task, fingerprint, label, prefix)
    if cursor is not None:
        query = query.where(AdapterRow.name > position_of(cursor, str, *filters))
    size = _bounded(limit)
    with registry.database.reading() as session:
        rows = session.scalars(query.order_by(AdapterRow.name).limit(size + 1)).all()
        items = _summaries(session, rows[:size], fits)
    last = rows[size - 1].name if len(rows) > size else None
    return Page(items=items, next_cursor=None if last is None else cursor_at(last, *filters))


def show_adapter(registry: Registry, name: str) -> AdapterSummary:
    """Raises `UnknownAdapter`, and `UnknownVersion` where all of its versions are deleted."""
    with registry.database.reading() as session:
        found = _summaries(session, [find_adapter(session, name)], _fitting(None, None))
    if not found:
        raise UnknownVersion(f"all versions of adapter {name!r} are deleted")
    return found[0]


def list_versions(
    registry: Registry, name: str, *, include_deleted: bool = False, cursor: str | None = None, limit: int = 50
) -> Page[VersionSummary]:
    """Newest first. Raises `UnknownAdapter` or `InvalidCursor`."""
    conditions = [VersionRow.adapter == name]
    if not include_deleted:
        conditions.append(VersionRow.deleted_at.is_(None))
    filters = ("versions", name, include_deleted)
    if cursor is not None:
        conditions.append(VersionRow.number < position_of(cursor, int, *filters))
    size = _bounded(limit)
    with registry.database.reading() as session:
        find_adapter(session, name)
        found = _version_summaries(session, *conditions, limit=size + 1)
    last = found[size - 1].number if len(found) > size else None
    return Page(items=found[:size], next_cursor=None if last is None else cursor_at(last, *filters))


def _bounded(limit: int) -> int:
    return max(1, min(limit, MOST_PER_PAGE))


def _fitting(fingerprint: str | None, label: str | None) -> Sequence[ColumnElement[bool]]:
    fits: list[ColumnElement[bool]] = [VersionRow.deleted_at.is_(None)]
    if fingerprint is not None:
        fits.append(VersionRow.fingerprint == fingerprint)
    if label is not None:
        mine = and_(LabelRow.adapter == VersionRow.adapter, LabelRow.number == VersionRow.number)
        fits.append(exists().where(mine, LabelRow.label.in_([f"{tag}{label}" for tag in _TAG_PREFIXES])))
    return fits


def _summaries(
    session: Session, adapters: Sequence[AdapterRow], fits: Sequence[ColumnElement[bool]]
) -> tuple[AdapterSummary, ...]:
    names = [adapter.name for adapter in adapters]
    counting = select(VersionRow.adapter, func.count(), func.max(VersionRow.number))
    counted = counting.where(VersionRow.adapter.in_(names), *fits).group_by(VersionRow.adapter)
    numbers = {name: (count, newest) for name, count, newest in session.execute(counted)}
    pairs = [(name, newest) for name, (_, newest) in numbers.items()]
    newest = {version.name: version for version in _version_summaries(session, _IDENTITY.in_(pairs))}
    aliases = _aliases(session, names)
    return tuple(
        AdapterSummary(
            name=adapter.name,
            kind=cast(Kind, adapter.kind),
            language=adapter.language,
            task=adapter.task,
            created_at=adapter.created_at,
            num_versions=numbers[adapter.name][0],
            newest=newest[adapter.name],
            aliases=aliases.get(adapter.name, ()),
        )
        for adapter in adapters
        if adapter.name in newest
    )


def _version_summaries(
    session: Session, *conditions: ColumnElement[bool], limit: int | None = None
) -> tuple[VersionSummary, ...]:
    """Newest first, by name."""
    query = select(*_SUMMARY).where(*conditions).order_by(VersionRow.adapter, VersionRow.number.desc()).limit(limit)
    rows = session.execute(query).all()
    labels = _labels(session, [(row.adapter, row.number) for row in rows])
    return tuple(
        VersionSummary(
            name=row.adapter,
            number=row.number,
            fingerprint=row.fingerprint,
            manifest_digest=Digest(row.manifest_digest),
            weights_digest=Digest(row.weights_digest),
            size_bytes=row.size_bytes,
            labels=tuple(labels.get((row.adapter, row.number), ())),
            created_at=row.created_at,
            deleted_at=row.deleted_at,
        )
        for row in rows
    )


def _labels(session: Session, versions: Sequence[_Numbered]) -> dict[_Numbered, list[str]]:
    """In the order of the head."""
    query = select(LabelRow.adapter, LabelRow.number, LabelRow.label)
    query = query.where(tuple_(LabelRow.adapter, LabelRow.number).in_(list(versions))).order_by(LabelRow.position)
    found: dict[_Numbered, list[str]] = {}
    for name, number, label in session.execute(query):
        found.setdefault((name, number), []).append(label)
    return found


def _aliases(session: Session, names: Sequence[str]) -> dict[str, tuple[Alias, ...]]:
    query = select(AliasRow).where(AliasRow.adapter.in_(names), AliasRow.number.is_not(None)).order_by(AliasRow.alias)
    found: dict[str, tuple[Alias, ...]] = {}
    for row in session.scalars(query):
        found[row.adapter] = (*found.get(row.adapter, ()), alias_of(row))
    return found
