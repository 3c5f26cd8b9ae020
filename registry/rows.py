"""Rows to values. Everything here works inside a caller's session and writes nothing."""

from typing import cast

from pydantic import TypeAdapter

from madx import manifest
from madx.config import BackboneConfig
from madx.manifest import Digest, Kind

from .models import AdapterRow, AliasMoveRow, AliasRow, AuditRow, BackboneRow, DefaultRow, EventRow, VersionRow
from .values import Alias, AliasMove, AuditEntry, Backbone, Default, Event, Version

_CONFIG = TypeAdapter(BackboneConfig)


def backbone_of(row: BackboneRow) -> Backbone:
    return Backbone(
        fingerprint=row.fingerprint,
        name=row.name,
        config=_CONFIG.validate_python(row.config),
        masked_lm=row.masked_lm,
        created_at=row.created_at,
    )


def version_of(adapter: AdapterRow, row: VersionRow) -> Version:
    return Version(
        name=adapter.name,
        number=row.number,
        kind=cast(Kind, adapter.kind),
        language=adapter.language,
        task=adapter.task,
        fingerprint=row.fingerprint,
        manifest=manifest.from_bytes(row.manifest),
        manifest_bytes=row.manifest,
        manifest_digest=Digest(row.manifest_digest),
        weights_digest=Digest(row.weights_digest),
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
        purged_at=row.purged_at,
    )


def alias_of(row: AliasRow) -> Alias:
    """Of an alias that was not removed."""
    assert row.number is not None
    return Alias(adapter=row.adapter, alias=row.alias, number=row.number, revision=row.revision, moved_at=row.moved_at)


def move_of(row: AliasMoveRow) -> AliasMove:
    return AliasMove(number=row.number, revision=row.revision, actor=row.actor, moved_at=row.moved_at)


def default_of(row: DefaultRow) -> Default:
    return Default(
        kind=cast(Kind, row.kind),
        key=row.key,
        fingerprint=row.fingerprint,
        reference=row.adapter if row.selector is None else f"{row.adapter}@{row.selector}",
    )


def audit_entry_of(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        from_digest=row.from_digest,
        to_digest=row.to_digest,
        detail=row.detail,
    )


def event_of(row: EventRow) -> Event:
    return Event(id=row.id, at=row.at, action=row.action, subject=row.subject, detail=row.detail)
