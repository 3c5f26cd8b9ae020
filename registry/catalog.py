"""What the registry knows: backbones, adapters and which of their versions runs. One function, one transaction.

Reading goes through `selection` and `rows`; each write leaves an audit row and an event (`journal`). New versions come
from `publish` alone; `versions`, `aliases` and `search` have the rest.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from madx.config import BackboneConfig
from madx.manifest import Digest, Kind, is_digest

from . import journal
from .database import insert_if_absent
from .errors import AmbiguousBackbone, Conflict, InvalidName, NoDefault, UnknownBackbone
from .models import AdapterRow, AliasRow, BackboneRow, DefaultRow, EventRow, VersionRow
from .nearest import nearest_names
from .references import AdapterRef
from .registry import Registry
from .rows import alias_of, backbone_of, default_of, event_of, version_of
from .selection import (
    canonical_key,
    choose_version,
    find_adapter,
    find_backbone,
    find_default,
    find_version,
    live_versions,
)
from .values import Adapter, Backbone, Default, Event, Version


def add_backbone(
    registry: Registry,
    *,
    fingerprint: str,
    name: str,
    config: BackboneConfig,
    masked_lm: bool,
    actor: str = journal.LOCAL_ACTOR,
) -> Backbone:
    """A known one stays as it is, with its first name. Raises `Conflict` if its configuration was another."""
    if not is_digest(fingerprint):
        raise InvalidName("a backbone's fingerprint is a sha256 of 64 lower-case hexadecimal digits")
    if not 1 <= len(name) <= 200 or not name.isprintable() or is_digest(name):
        raise InvalidName(f"{name!r} is no valid backbone name: use 1 to 200 printable characters, and no fingerprint")
    with registry.database.session() as session:
        values = {"name": name, "config": asdict(config), "masked_lm": masked_lm, "created_at": datetime.now(UTC)}
        is_new = insert_if_absent(session, BackboneRow, {"fingerprint": fingerprint, **values})
        if is_new:
            journal.record(session, actor=actor, action="backbone.added", subject=fingerprint, name=name)
        known = backbone_of(session.get_one(BackboneRow, fingerprint))
    if (known.config, known.masked_lm) != (config, masked_lm):
        raise Conflict(
            f"backbone {fingerprint[:12]} is in the registry with another configuration; "
            "one fingerprint cannot stand for two: compare the two folders"
        )
    return known


def list_backbones(registry: Registry) -> tuple[Backbone, ...]:
    with registry.database.reading() as session:
        query = select(BackboneRow).order_by(BackboneRow.name, BackboneRow.fingerprint)
        return tuple(backbone_of(row) for row in session.scalars(query))


def get_backbone(registry: Registry, name_or_fingerprint: str) -> Backbone:
    """Raises `UnknownBackbone`, or `AmbiguousBackbone` where several have that name."""
    with registry.database.reading() as session:
        if is_digest(name_or_fingerprint):
            return backbone_of(find_backbone(session, name_or_fingerprint))
        rows = session.scalars(select(BackboneRow).where(BackboneRow.name == name_or_fingerprint)).all()
        if not rows:
            names = session.scalars(select(BackboneRow.name))
            raise UnknownBackbone(
                f"no backbone {name_or_fingerprint!r}; add it with `glossa backbones add`",
                nearest=nearest_names(name_or_fingerprint, names),
            )
        if len(rows) > 1:
            raise AmbiguousBackbone(
                f"several backbones are named {name_or_fingerprint!r}; use a fingerprint",
                candidates=sorted(row.fingerprint for row in rows),
            )
        return backbone_of(rows[0])


def show(registry: Registry, name: str) -> Adapter:
    with registry.database.reading() as session:
        return _adapter(session, find_adapter(session, name))


def _adapter(session: Session, row: AdapterRow) -> Adapter:
    aliases = session.scalars(select(AliasRow).where(AliasRow.adapter == row.name).order_by(AliasRow.alias))
    return Adapter(
        name=row.name,
        kind="language" if row.kind == "language" else "task",
        language=row.language,
        task=row.task,
        created_at=row.created_at,
        versions=tuple(version_of(row, version) for version in live_versions(session, row)),
        aliases=tuple(alias_of(alias) for alias in aliases if alias.number is not None),
    )


def holds_more_than(registry: Registry, weights: Collection[Digest]) -> bool:
    """Whether a live version has other weights than these."""
    other = VersionRow.weights_digest.not_in(weights)
    with registry.database.reading() as session:
        return (
            session.scalar(select(VersionRow.number).where(VersionRow.deleted_at.is_(None), other).limit(1)) is not None
        )


def resolve(registry: Registry, reference: AdapterRef, *, fingerprint: str | None = None) -> Version:
    """Raises `UnknownAdapter`, `UnknownVersion`, `UnknownAlias`, or `WrongBackbone` if `fingerprint` is another's."""
    with registry.database.reading() as session:
        return find_version(session, reference, fingerprint)


def choose(registry: Registry, *, kind: Kind, key: str, fingerprint: str) -> Version:
    """What runs where a request names no adapter: the only one, else the default.

    Raises `AmbiguousAdapter`, `UnknownLanguage`, `UnknownTask`, or `WrongBackbone` if there are adapters, but none that
    runs on this backbone.
    """
    with registry.database.reading() as session:
        return choose_version(session, kind, key, fingerprint)


def get_default(registry: Registry, *, kind: Kind, key: str, fingerprint: str) -> AdapterRef | None:
    with registry.database.reading() as session:
        return find_default(session, kind, canonical_key(kind, key), fingerprint)


def list_defaults(registry: Registry, name: str) -> tuple[Default, ...]:
    """Where an adapter is the default: on one backbone or several."""
    query = select(DefaultRow).where(DefaultRow.adapter == name).order_by(DefaultRow.key, DefaultRow.fingerprint)
    with registry.database.reading() as session:
        return tuple(default_of(row) for row in session.scalars(query))


CheckName = Callable[[str], None]
"""Raises where the one who asks may not change what stands for the adapter of that name."""


def anybody(_name: str) -> None:
    pass


def set_default(
    registry: Registry,
    reference: AdapterRef,
    *,
    fingerprint: str,
    check_name: CheckName = anybody,
    actor: str = journal.LOCAL_ACTOR,
) -> Version:
    """Make `reference` what runs for its own language or task on that backbone, and say which version this is now.

    `check_name` is asked about the adapter that was the default before, too.
    """
    check_name(reference.name)
    with registry.database.session() as session:
        find_backbone(session, fingerprint)
        find_adapter(session, reference.name, lock=True)  # so that the version is not deleted meanwhile
        version = find_version(session, reference, fingerprint)
        now = datetime.now(UTC)
        place = {"kind": version.kind, "key": version.key, "fingerprint": fingerprint}
        insert_if_absent(session, DefaultRow, place | {"adapter": reference.name, "set_at": now})
        row = session.get_one(DefaultRow, (version.kind, version.key, fingerprint), with_for_update=True)
        check_name(row.adapter)
        row.adapter, row.selector, row.set_at = reference.name, reference.selector, now
        journal.record(
            session,
            actor=actor,
            action="default.set",
            subject=str(reference),
            to_digest=version.manifest_digest,
            key=version.key,
            fingerprint=fingerprint,
        )
    return version


def clear_default(
    registry: Registry,
    *,
    kind: Kind,
    key: str,
    fingerprint: str,
    check_name: CheckName = anybody,
    actor: str = journal.LOCAL_ACTOR,
) -> None:
    """Where several adapters fit, a request must name one again. Raises `NoDefault`; `check_name` as `set_default`."""
    key = canonical_key(kind, key)
    with registry.database.session() as session:
        row = session.get(DefaultRow, (kind, key, fingerprint), with_for_update=True)
        if row is None:
            raise NoDefault(f"no default is set for {kind} {key!r} on this backbone")
        check_name(row.adapter)
        session.delete(row)
        journal.record(session, actor=actor, action="default.cleared", subject=row.adapter, key=key, kind=kind)


def events_after(registry: Registry, last_id: int, *, limit: int = 100) -> tuple[Event, ...]:
    """What changed since event `last_id` (0: from the beginning), oldest first."""
    with registry.database.reading() as session:
        query = select(EventRow).where(EventRow.id > last_id).order_by(EventRow.id).limit(limit)
        return tuple(event_of(row) for row in session.scalars(query))


def newest_event_id(registry: Registry) -> int:
    """0 where nothing has happened yet."""
    with registry.database.reading() as session:
        return session.scalar(select(func.max(EventRow.id))) or 0
