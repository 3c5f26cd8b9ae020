"""Which version a reference, or a language or task without one, stands for. Queries inside a caller's session."""

from sqlalchemy import ColumnElement, select
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
    elif session.get(AliasRow, (adapter.name, PRODUCTION)) is not None:
        row = _aliased(session, adapter, PRODUCTION)
    else:
        row = _newest(session, adapter, fingerprint)
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


def _numbered(session: Session, adapter: AdapterRow, number: int) -> VersionRow:
    row = session.get(VersionRow, (adapter.name, number))
    if row is None or row.deleted_at is not None:
        live = [f"{adapter.name}@{other.number}" for other in live_versions(session, adapter)]
        state = "no version" if row is None else "deleted:"
        raise UnknownVersion(f"{state} {adapter.name}@{number}", nearest=reversed(live[-3:]))
    return row


def _aliased(session: Session, adapter: AdapterRow, alias: str) -> VersionRow:
    row = session.get(AliasRow, (adapter.name, alias))
    if row is None:
        known = session.scalars(select(AliasRow.alias).where(AliasRow.adapter == adapter.name))
        nearest = [f"{adapter.name}@{name}" for name in nearest_names(alias, known)]
        raise UnknownAlias(f"adapter {adapter.name!r} has no alias {alias!r}", nearest=nearest)
    return _numbered(session, adapter, row.number)


def _newest(session: Session, adapter: AdapterRow, fingerprint: str | None) -> VersionRow:
    rows = live_versions(session, adapter)
    if not rows:
        raise UnknownVersion(f"all versions of adapter {adapter.name!r} are deleted")
    fitting = [row for row in rows if row.fingerprint == fingerprint]
    return (fitting or rows)[-1]


def _named(session: Session, fingerprint: str) -> str:
    row = session.get(BackboneRow, fingerprint)
    return f"{row.name} ({fingerprint[:12]})" if row is not None else fingerprint[:12]


def key_column(kind: Kind) -> ColumnElement[str | None]:
    column = AdapterRow.language if kind == "language" else AdapterRow.task
    return column.expression


def canonical_key(kind: Kind, key: str) -> str:
    """Raises `InvalidConfig` where `key` is no language tag."""
    return canonical_language(key) if kind == "language" else key


def find_candidates(session: Session, kind: Kind, key: str, fingerprint: str) -> tuple[Version, ...]:
    """What each adapter of that language or task would run on this backbone, by name."""
    query = select(AdapterRow).where(AdapterRow.kind == kind, key_column(kind) == key).order_by(AdapterRow.name)
    found = []
    for adapter in session.scalars(query).all():
        try:
            found.append(find_version(session, AdapterRef(name=adapter.name), fingerprint))
        except (UnknownVersion, WrongBackbone):
            continue
    return tuple(found)


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
    candidates = find_candidates(session, kind, key, fingerprint)
    default = find_default(session, kind, key, fingerprint)
    if default is not None and (len(candidates) != 1 or candidates[0].name == default.name):
        return find_version(session, default, fingerprint)
    if len(candidates) > 1:
        raise AmbiguousAdapter(
            f"several adapters for {kind} {key!r}; name one, or set one with `glossa adapters default`",
            candidates=[version.name for version in candidates],
        )
    return candidates[0] if candidates else None


def _unfit(session: Session, kind: Kind, key: str, fingerprint: str) -> WrongBackbone | None:
    query = (
        select(AdapterRow.name)
        .join(VersionRow, VersionRow.adapter == AdapterRow.name)
        .where(AdapterRow.kind == kind, key_column(kind) == key, VersionRow.deleted_at.is_(None))
        .distinct()
    )
    names = sorted(session.scalars(query))
    if not names:
        return None
    return WrongBackbone(
        f"the adapters for {kind} {key!r} ({', '.join(names)}) do not run on backbone {_named(session, fingerprint)}; "
        "publish one for it, or serve theirs"
    )


def _unknown_key(session: Session, kind: Kind, key: str, fingerprint: str) -> NotFound:
    column = key_column(kind)
    query = (
        select(column)
        .join(VersionRow, VersionRow.adapter == AdapterRow.name)
        .where(AdapterRow.kind == kind, VersionRow.fingerprint == fingerprint, VersionRow.deleted_at.is_(None))
        .distinct()
    )
    known = [name for name in session.scalars(query) if name is not None]
    if kind == "language":
        return UnknownLanguage(f"no adapter for language {key!r}", nearest=nearest_languages(key, known))
    return UnknownTask(f"no adapter for task {key!r}", nearest=nearest_names(key, known))
