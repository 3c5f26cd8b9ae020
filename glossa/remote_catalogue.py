"""A server's registry as the registry commands see it. `catalogues` has the protocol."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from madx.manifest import from_bytes
from registry.evaluations import Evaluation
from registry.lineage import Lineage
from registry.references import AdapterRef, check_alias, check_name
from registry.values import Alias, AliasMove, Backbone, Page, PublishedVersion, Version, VersionSummary

from . import wire
from .catalogues import AdapterEntry, Filters, Transfer
from .client import Client
from .connection import Json
from .folders import AdapterFolder
from .patience import Patience
from .uploads_client import UploadMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCatalogue:
    """Names are checked before they become part of an address."""

    client: Client
    memory: UploadMemory

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None = None) -> Page[AdapterEntry]:
        query = asdict(filters)
        query["q"] = query.pop("query")
        items, cursor = self.client.catalogue.adapters_page(limit=limit, cursor=cursor, **query)
        return Page(items=tuple(wire.entry_of(item) for item in items), next_cursor=cursor)

    def adapter(self, name: str) -> AdapterEntry:
        return wire.entry_of(self.client.catalogue.adapter(check_name(name)))

    def versions(
        self, name: str, *, include_deleted: bool, limit: int, cursor: str | None = None
    ) -> Page[VersionSummary]:
        items, cursor = self.client.catalogue.versions_page(
            check_name(name), include_deleted=include_deleted, limit=limit, cursor=cursor
        )
        return Page(items=tuple(wire.summary_of(item) for item in items), next_cursor=cursor)

    def resolve(self, reference: AdapterRef) -> Version:
        return self._whole(self.client.catalogue.resolve(str(reference)))

    def lineage(self, name: str, number: int) -> Lineage:
        return wire.lineage_of(self.client.catalogue.lineage(check_name(name), number))

    def evaluations(self, name: str, number: int, *, limit: int, cursor: str | None = None) -> Page[Evaluation]:
        items, cursor = self.client.catalogue.evaluations_page(check_name(name), number, limit=limit, cursor=cursor)
        return Page(items=tuple(wire.evaluation_of(item) for item in items), next_cursor=cursor)

    def publish(self, name: str, folder: AdapterFolder, transfer: Transfer) -> PublishedVersion:
        done = self.client.uploads.publish(
            check_name(name),
            folder.manifest,
            folder.weights,
            on_progress=transfer.on_bytes,
            memory=self.memory,
            patience=Patience(on_wait=transfer.on_wait),
        )
        version = self._whole(self.client.catalogue.version(name, int(done["version"])))
        return PublishedVersion(version=version, created=bool(done["created"]))

    def weights(self, version: Version, start: int, transfer: Transfer) -> Iterator[bytes]:
        patience = Patience(on_wait=transfer.on_wait)
        transfer.on_bytes(start)
        for chunk in self.client.downloads.weights(version.name, version.number, start=start, patience=patience):
            start += len(chunk)
            transfer.on_bytes(start)
            yield chunk

    def delete(self, name: str, number: int) -> None:
        self.client.catalogue.delete_version(check_name(name), number)

    def restore(self, name: str, number: int) -> None:
        self.client.catalogue.restore_version(check_name(name), number)

    def alias(self, name: str, alias: str) -> Alias:
        return wire.alias_of(self.client.catalogue.alias(check_name(name), check_alias(alias)), name)

    def move_alias(self, name: str, alias: str, number: int, *, expected: int | None) -> Alias:
        item = self.client.catalogue.set_alias(check_name(name), check_alias(alias), number, expected=expected)
        return wire.alias_of(item, name)

    def remove_alias(self, name: str, alias: str, *, expected: int | None) -> None:
        self.client.catalogue.remove_alias(check_name(name), check_alias(alias), expected=expected)

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        items = self.client.catalogue.alias_history(check_name(name), check_alias(alias))
        return tuple(wire.move_of(item) for item in items)

    def set_default(self, reference: AdapterRef, version: Version) -> None:
        self.client.catalogue.set_default(version.kind, version.key, str(reference), fingerprint=version.fingerprint)

    def clear_default(self, version: Version) -> None:
        self.client.catalogue.clear_default(version.kind, version.key, fingerprint=version.fingerprint)

    def backbones(self) -> tuple[Backbone, ...]:
        return tuple(wire.backbone_of(item) for item in self.client.catalogue.backbones())

    def _whole(self, item: dict[str, Json]) -> Version:
        """A version with its manifest's own bytes, which must have the digest that the server names."""
        summary = wire.summary_of(item)
        content = self.client.catalogue.manifest(summary.name, summary.number, digest=summary.manifest_digest)
        manifest = from_bytes(content)
        return Version(
            name=summary.name,
            number=summary.number,
            kind=manifest.kind,
            language=manifest.language,
            task=manifest.task,
            fingerprint=summary.fingerprint,
            manifest=manifest,
            manifest_bytes=content,
            manifest_digest=summary.manifest_digest,
            weights_digest=summary.weights_digest,
            size_bytes=summary.size_bytes,
            created_at=summary.created_at,
            deleted_at=summary.deleted_at,
        )
