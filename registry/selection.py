"""Which version a reference, or a language or task without one, stands for. Queries inside a caller's session."""

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from madx.errors import InvalidConfig
from madx.manifest import Kind, canonical_language

from .errors import (
    AmbiguousAdapter,
    NotFound,
    UnknownAdapter,
    UnknownAlias,
    UnknownBackbone,
    UnknownLanguage,
    UnknownTask,
    UnknownVersion,
    WrongBackbone,
)
from .models import AdapterRow, AliasRow, BackboneRow, DefaultRow, VersionRow
from .nearest import nearest_languages, nearest_names
from .offers import find_candidates, key_column
from .references import PRODUCTION, AdapterRef
from .rows import version_of
from .values import Version


def find_adapter(session: Session, name: str, *, lock: bool = False) -> AdapterRow:
    row = session.get(AdapterRow, name, with_for_update=lock)
    if row is None:
        raise UnknownAdapter(
            f"no adapter {name!r}", nearest=nearest_names(name, session.scalars(select(AdapterRow.name)))
        )
    return row


def find_backbone(session: Session, fingerprint: str) -> BackboneRow:
    row = session.get(BackboneRow, fingerprint)
    if row is None:
        known = [f"{other.name} ({other.fingerprint[:12]})" for other in session.scalars(select(BackboneRow))]
        raise UnknownBackbone(
            f"no backbone with fingerprint {fingerprint[:12]}…; known: {', '.join(known) or 'none'}; "
            "add it first with `glossa backbones add`"
        )
    return row


def find_version(session: Session, reference: AdapterRef, fingerprint: str | None) -> Version:
    """With a `fingerprint`, a bare name without `production` alias means its newest live version for that backbone."""
    adapter = find_adapter(session, reference.name)
    if reference.number is not None:
        row = _numbered(session, adapter, reference.number)
    elif reference.alias is not None:
        row = _aliased(session, adapter, reference.alias)
    else:
        production = find_alias(session, adapter.name, PRODUCTION)
        row = (
            _newest(session, adapter, fingerprint) if production is None else _pointed_at(session, adapter, production)
        )
    if fingerprint is not None and row.fingerprint != fingerprint:
        raise WrongBackbone(
            f"{row.adapter}@{row.number} is made for backbone {_named(session, row.fingerprint)}, "
            f"not for {_named(session, fingerprint)}; publish a version for that one, or name another adapter"
        )
    return version_of(adapter, row)


def live_versions(session: Session, adapter: AdapterRow, *conditions: ColumnElement[bool]) -> tuple[VersionRow, ...]:
    """Ascending by number."""
    query = (
        select(VersionRow)
        .where(VersionRow.adapter == adapter.name, VersionRow.deleted_at.is_(None), *conditions)
        .order_by(VersionRow.number)
    )
    return tuple(session.scalars(query))


def find_row(session: Session, name: str, number: int) -> VersionRow:
    """The row of a version, deleted or not. Raises `UnknownVersion`."""
    row = session.get(VersionRow, (name, number))
    if row is None:
        raise UnknownVersion(f"no version {name}@{number}", nearest=_newest_references(session, name))
    return row


def _numbered(session: Session, adapter: AdapterRow, number: int) -> VersionRow:
    row = find_row(session, adapter.name, number)
    if row.deleted_at is not None:
        raise UnknownVersion(f"deleted: {adapter.name}@{number}", nearest=_newest_references(session, adapter.name))
    return row


def _newest_references(session: Session, name: str) -> list[str]:
    live = select(VersionRow.number).where(VersionRow.adapter == name, VersionRow.deleted_at.is_(None))
    return [f"{name}@{number}" for number in session.scalars(live.order_by(VersionRow.number.desc()).limit(3))]


def find_alias(session: Session, name: str, alias: str) -> AliasRow | None:
    """None also for one that was removed."""
    row = session.get(AliasRow, (name, alias))
    return None if row is None or row.number is None else row


def _aliased(session: Session, adapter: AdapterRow, alias: str) -> VersionRow:
    row = find_alias(session, adapter.name, alias)
    if row is None:
        raise unknown_alias(session, adapter.name, alias)
    return _pointed_at(session, adapter, row)


def _pointed_at(session: Session, adapter: AdapterRow, alias: AliasRow) -> VersionRow:
    assert alias.number is not None
    return _numbered(session, adapter, alias.number)


def unknown_alias(session: Session, name: str, alias: str) -> UnknownAlias:
    known = session.scalars(select(AliasRow.alias).where(AliasRow.adapter == name, AliasRow.number.is_not(None)))
    nearest = [f"{name}@{other}" for other in nearest_names(alias, known)]
    return UnknownAlias(f"adapter {name!r} has no alias {alias!r}", nearest=nearest)


def _newest(session: Session, adapter: AdapterRow, fingerprint: str | None) -> VersionRow:
    live = select(VersionRow).where(VersionRow.adapter == adapter.name, VersionRow.deleted_at.is_(None))
    newest = live.order_by(VersionRow.number.desc()).limit(1)
    row = None
    if fingerprint is not None:
        row = session.scalar(newest.where(VersionRow.fingerprint == fingerprint))
    row = row or session.scalar(newest)
    if row is None:
        raise UnknownVersion(f"all versions of adapter {adapter.name!r} are deleted")
    return row


def _named(session: Session, fingerprint: str) -> str:
    row = session.get(BackboneRow, fingerprint)
    return f"{row.name} ({fingerprint[:12]})" if row is not None else fingerprint[:12]


def canonical_key(kind: Kind, key: str) -> str:
    """Raises `InvalidConfig` where `key` is no language tag."""
    return canonical_language(key) if kind == "language" else key


def find_default(session: Session, kind: Kind, key: str, fingerprint: str) -> AdapterRef | None:
    row = session.get(DefaultRow, (kind, key, fingerprint))
    if row is None:
        return None
    if row.selector is not None and row.selector.isdigit():
        return AdapterRef(name=row.adapter, number=int(row.selector))
    return AdapterRef(name=row.adapter, alias=row.selector)


def choose_version(session: Session, kind: Kind, key: str, fingerprint: str) -> Version:
    """The only adapter, else the default. A default also says which version of the only adapter runs.

    A language without adapters is looked up in its shorter forms: "pt-BR" finds "pt".
    """
    try:
        forms = _lookup_forms(kind, canonical_key(kind, key))
    except InvalidConfig as error:
        raise _unknown_key(session, kind, key, fingerprint) from error
    for form in forms:
        version = _choose_for(session, kind, form, fingerprint)
        if version is not None:
            return version
    raise _unfit(session, kind, forms[0], fingerprint) or _unknown_key(session, kind, key, fingerprint)


def _lookup_forms(kind: Kind, key: str) -> list[str]:
    """A language tag, then without its last subtags one by one (the lookup of RFC 4647, section 3.4)."""
    forms = [key]
    subtags = key.split("-") if kind == "language" else [key]
    while len(subtags) > 1:
        subtags.pop()
        # A single letter opens an extension, which is gone.
        if len(subtags[-1]) > 1:
            forms.append("-".join(subtags))
    return forms


def _choose_for(session: Session, kind: Kind, key: str, fingerprint: str) -> Version | None:
    """The choice for exactly this key; None without any adapter. Raises `AmbiguousAdapter`."""
    candidates = find_candidates(session, kind, fingerprint, key=key)
    default = find_default(session, kind, key, fingerprint)
    if default is not None and (len(candidates) != 1 or candidates[0].name == default.name):
        return find_version(session, default, fingerprint)
    if len(candidates) > 1:
        raise AmbiguousAdapter(
            f"several adapters for {kind} {key!r}; name one, or set one with `glossa adapters default`",
            candidates=[candidate.name for candidate in candidates],
        )
    if not candidates:
        return None
    return find_version(session, AdapterRef(name=candidates[0].name, number=candidates[0].number), fingerprint)


def _unfit(session: Session, kind: Kind, key: str, fingerprint: str) -> WrongBackbone | None:
    is_live = exists().where(VersionRow.adapter == AdapterRow.name, VersionRow.deleted_at.is_(None))
    query = select(AdapterRow.name).where(AdapterRow.kind == kind, key_column(kind) == key, is_live)
    names = session.scalars(query.order_by(AdapterRow.name)).all()
    if not names:
        return None
    return WrongBackbone(
        f"the adapters for {kind} {key!r} ({', '.join(names)}) do not run on backbone {_named(session, fingerprint)}; "
        "publish one for it, or serve theirs"
    )


def _unknown_key(session: Session, kind: Kind, key: str, fingerprint: str) -> NotFound:
    column = key_column(kind)
    runs = exists().where(
        VersionRow.adapter == AdapterRow.name, VersionRow.fingerprint == fingerprint, VersionRow.deleted_at.is_(None)
    )
    query = select(column).where(AdapterRow.kind == kind, runs).distinct()
    known = [name for name in session.scalars(query) if name is not None]
    if kind == "language":
        return UnknownLanguage(f"no adapter for language {key!r}", nearest=nearest_languages(key, known))
    return UnknownTask(f"no adapter for task {key!r}", nearest=nearest_names(key, known))
