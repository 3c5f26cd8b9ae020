"""What the catalogue's routes answer: the registry's values as JSON, one shape for each kind of thing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, Field

from madx.manifest import Kind
from registry.lineage import Lineage
from registry.pages import MOST_PER_PAGE
from registry.values import AdapterSummary, Alias, AliasMove, AuditEntry, Backbone, Default, Version, VersionSummary

_NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_ALIAS = r"^[a-z][a-z0-9._-]{0,63}$"

Name = Annotated[str, Path(pattern=_NAME, description="an adapter's name")]
Number = Annotated[int, Path(ge=1, le=999_999_999, description="a version's number")]
AliasName = Annotated[str, Path(pattern=_ALIAS, description="an alias, such as production")]
Limit = Annotated[int, Query(ge=1, le=MOST_PER_PAGE, description="items of one page")]
Cursor = Annotated[str | None, Query(max_length=400, description="next_cursor of the page before")]

Item = TypeVar("Item")


class ItemPage(BaseModel, Generic[Item]):
    """`next_cursor` gives the items after these; null at the end."""

    items: list[Item]
    next_cursor: str | None


class VersionItem(BaseModel):
    """`digest` is that of the manifest and identifies the version; `servable` says whether this server can run it."""

    reference: str
    name: str
    version: int
    digest: str
    weights_digest: str
    fingerprint: str
    servable: bool
    size_bytes: int
    labels: list[str]
    created_at: datetime
    deleted_at: datetime | None


class ListedVersionItem(VersionItem):
    aliases: list[str]


class ShownVersionItem(VersionItem):
    manifest: dict[str, Any]


class AdapterItem(BaseModel):
    """`num_versions` and `newest` are about the live versions that fit what was asked for."""

    name: str
    kind: Kind
    language: str | None
    task: str | None
    created_at: datetime
    num_versions: int
    newest: VersionItem
    aliases: dict[str, int]


class PlaceItem(BaseModel):
    """Where an adapter is the default, and which reference was set there."""

    kind: Kind
    key: str
    fingerprint: str
    reference: str


class ShownAdapterItem(AdapterItem):
    defaults: list[PlaceItem]


class AliasItem(BaseModel):
    alias: str
    version: int
    reference: str
    revision: int = Field(description="counts the moves; also the ETag")
    moved_at: datetime


class AliasMoveItem(BaseModel):
    """`version` is null where the alias was removed."""

    revision: int
    version: int | None
    actor: str
    moved_at: datetime


class DataItem(BaseModel):
    name: str
    split: str
    digest: str
    licence: str | None


class LineageItem(BaseModel):
    """`parents`: digest -> the references that it has in this registry. `children`: versions trained on top of this."""

    reference: str
    digest: str
    fingerprint: str
    fingerprint_source: str
    method: str
    job: str | None
    datasets: list[DataItem]
    parents: dict[str, list[str]]
    children: list[str]


class BackboneItem(BaseModel):
    name: str
    fingerprint: str
    config: dict[str, Any]
    masked_lm: bool
    is_served: bool
    created_at: datetime


class AuditItem(BaseModel):
    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    from_digest: str | None
    to_digest: str | None
    detail: dict[str, Any]


def version_fields(version: VersionSummary, fingerprint: str) -> dict[str, Any]:
    """`fingerprint` is that of the served backbone."""
    return {
        "reference": version.reference,
        "name": version.name,
        "version": version.number,
        "digest": version.manifest_digest,
        "weights_digest": version.weights_digest,
        "fingerprint": version.fingerprint,
        "servable": version.fingerprint == fingerprint,
        "size_bytes": version.size_bytes,
        "labels": list(version.labels),
        "created_at": version.created_at,
        "deleted_at": version.deleted_at,
    }


def summary_of(version: Version) -> VersionSummary:
    head = version.manifest.head
    return VersionSummary(
        name=version.name,
        number=version.number,
        fingerprint=version.fingerprint,
        manifest_digest=version.manifest_digest,
        weights_digest=version.weights_digest,
        size_bytes=version.size_bytes,
        labels=() if head is None else head.labels,
        created_at=version.created_at,
        deleted_at=version.deleted_at,
    )


def version_item(version: Version, fingerprint: str) -> VersionItem:
    return VersionItem.model_validate(version_fields(summary_of(version), fingerprint))


def listed_version_item(version: VersionSummary, aliases: Sequence[Alias], fingerprint: str) -> ListedVersionItem:
    mine = [alias.alias for alias in aliases if alias.number == version.number]
    return ListedVersionItem.model_validate(version_fields(version, fingerprint) | {"aliases": mine})


def adapter_fields(adapter: AdapterSummary, fingerprint: str) -> dict[str, Any]:
    return {
        "name": adapter.name,
        "kind": adapter.kind,
        "language": adapter.language,
        "task": adapter.task,
        "created_at": adapter.created_at,
        "num_versions": adapter.num_versions,
        "newest": version_fields(adapter.newest, fingerprint),
        "aliases": {alias.alias: alias.number for alias in adapter.aliases},
    }


def shown_adapter_item(adapter: AdapterSummary, defaults: Sequence[Default], fingerprint: str) -> ShownAdapterItem:
    places = [_fields(default, PlaceItem) for default in defaults]
    return ShownAdapterItem.model_validate(adapter_fields(adapter, fingerprint) | {"defaults": places})


def alias_item(alias: Alias) -> AliasItem:
    return AliasItem(
        alias=alias.alias,
        version=alias.number,
        reference=f"{alias.adapter}@{alias.number}",
        revision=alias.revision,
        moved_at=alias.moved_at,
    )


def move_item(move: AliasMove) -> AliasMoveItem:
    return AliasMoveItem(revision=move.revision, version=move.number, actor=move.actor, moved_at=move.moved_at)


def lineage_item(lineage: Lineage) -> LineageItem:
    return LineageItem.model_validate(_fields(lineage, LineageItem), from_attributes=True)


def backbone_item(backbone: Backbone, fingerprint: str) -> BackboneItem:
    config = {name: getattr(backbone.config, name) for name in backbone.config.__dataclass_fields__}
    return BackboneItem(
        name=backbone.name,
        fingerprint=backbone.fingerprint,
        config=config,
        masked_lm=backbone.masked_lm,
        is_served=backbone.fingerprint == fingerprint,
        created_at=backbone.created_at,
    )


def audit_item(entry: AuditEntry) -> AuditItem:
    return AuditItem.model_validate(_fields(entry, AuditItem))


def _fields(value: object, shape: type[BaseModel]) -> Mapping[str, Any]:
    return {name: getattr(value, name) for name in shape.model_fields}
