"""Lists of what there is, page by page: adapters by name, one adapter's versions newest first.

Manifests are never read here: what a list shows has columns of its own.
"""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Row, and_, exists, func, select
from sqlalchemy.orm import Session

from madx.manifest import Digest, Kind, canonical_language

from .errors import UnknownVersion
from .models import AdapterRow, AliasRow, LabelRow, VersionRow
from .pages import page_of, page_size, position_of
from .registry import Registry
from .rows import alias_of
from .selection import find_adapter
from .values import AdapterSummary, Alias, Page, VersionSummary
from .wanted import wanted_versions

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
    query = select(AdapterRow)
    for column, value in ((AdapterRow.kind, kind), (AdapterRow.language, language), (AdapterRow.task, task)):
        if value is not None:
            query = query.where(column == value)
    if prefix:
        query = query.where(AdapterRow.name >= prefix, AdapterRow.name < f"{prefix}\uffff")
    filters = ("adapters", kind, language, task, fingerprint, label, prefix)
    if cursor is not None:
        query = query.where(AdapterRow.name > position_of(cursor, str, *filters))
    size = page_size(limit)
    with registry.database.reading() as session:
        labels = None if label is None else _meant(session, label)
        query = query.where(_has_fitting(fingerprint, labels)).order_by(AdapterRow.name)
        rows = session.scalars(query.limit(size + 1)).all() if labels != [] else []
        found = _summaries(session, rows, _fitting(fingerprint, labels))
    return page_of(found, size, lambda adapter: adapter.name, *filters)


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
    size = page_size(limit)
    with registry.database.reading() as session:
        find_adapter(session, name)
        query = select(*_SUMMARY).where(*conditions).order_by(VersionRow.number.desc()).limit(size + 1)
        found = _version_summaries(session, session.execute(query).all())
    return page_of(found, size, lambda version: version.number, *filters)


def _meant(session: Session, label: str) -> list[str]:
    """Of the forms that a label may have, those that some head has."""
    forms = [f"{tag}{label}" for tag in _TAG_PREFIXES]
    there = session.execute(select(*(exists().where(LabelRow.label == form) for form in forms))).one()
    return [form for form, is_there in zip(forms, there, strict=True) if is_there]


def _has_fitting(fingerprint: str | None, labels: Sequence[str] | None) -> ColumnElement[bool]:
    """Of an adapter. Begins at its labels where some are asked for: SQLite looks in the order that is written."""
    runs = _running(fingerprint)
    if labels is None:
        return exists().where(VersionRow.adapter == AdapterRow.name, *runs)
    version = exists().where(VersionRow.adapter == LabelRow.adapter, VersionRow.number == LabelRow.number, *runs)
    return exists().where(LabelRow.adapter == AdapterRow.name, LabelRow.label.in_(labels), version)


def _fitting(fingerprint: str | None, labels: Sequence[str] | None) -> Sequence[ColumnElement[bool]]:
    """Of a version."""
    runs = _running(fingerprint)
    if labels is None:
        return runs
    mine = and_(LabelRow.adapter == VersionRow.adapter, LabelRow.number == VersionRow.number)
    # No EXISTS, which PostgreSQL would make a join of, in an order that can take it fifty times as long.
    first = select(LabelRow.position).where(mine, LabelRow.label.in_(labels)).limit(1)
    return [*runs, first.scalar_subquery().is_not(None)]


def _running(fingerprint: str | None) -> Sequence[ColumnElement[bool]]:
    live = VersionRow.deleted_at.is_(None)
    return [live] if fingerprint is None else [live, VersionRow.fingerprint == fingerprint]


def _summaries(
    session: Session, adapters: Sequence[AdapterRow], fits: Sequence[ColumnElement[bool]]
) -> tuple[AdapterSummary, ...]:
    if not adapters:
        return ()
    names = [adapter.name for adapter in adapters]
    newest = (
        select(VersionRow.adapter, func.count().label("num_versions"), func.max(VersionRow.number).label("number"))
        .where(VersionRow.adapter.in_(names), *fits)
        .group_by(VersionRow.adapter)
        .limit(len(names))  # There cannot be more, and PostgreSQL would expect so many that it read all versions.
        .subquery("newest")
    )
    mine = and_(VersionRow.adapter == newest.c.adapter, VersionRow.number == newest.c.number)
    rows = session.execute(select(*_SUMMARY, newest.c.num_versions).join(newest, mine)).all()
    counts = {row.adapter: row.num_versions for row in rows}
    versions = {version.name: version for version in _version_summaries(session, rows)}
    aliases = _aliases(session, names)
    return tuple(
        AdapterSummary(
            name=adapter.name,
            kind=cast(Kind, adapter.kind),
            language=adapter.language,
            task=adapter.task,
            created_at=adapter.created_at,
            num_versions=counts[adapter.name],
            newest=versions[adapter.name],
            aliases=aliases.get(adapter.name, ()),
        )
        for adapter in adapters
        if adapter.name in versions
    )


def _version_summaries(session: Session, rows: Sequence[Row[*tuple[Any, ...]]]) -> tuple[VersionSummary, ...]:
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
    wanted = wanted_versions(session, versions)
    mine = and_(LabelRow.adapter == wanted.c.adapter, LabelRow.number == wanted.c.number)
    query = select(LabelRow.adapter, LabelRow.number, LabelRow.label).join(wanted, mine).order_by(LabelRow.position)
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
