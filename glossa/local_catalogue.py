"""This machine's registry as the registry commands see it. `catalogues` has the protocol."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from madx.errors import InvalidWeights
from registry import aliases, catalog, search, versions
from registry.evaluations import Evaluation, list_evaluations
from registry.lineage import Lineage, lineage_of
from registry.publish import publish
from registry.references import AdapterRef, check_alias, check_name
from registry.registry import Registry
from registry.values import (
    AdapterSummary,
    Alias,
    AliasMove,
    Backbone,
    Page,
    PublishedVersion,
    Version,
    VersionSummary,
)

from .catalogues import AdapterEntry, Filters, Transfer
from .folders import AdapterFolder

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCatalogue:
    """Names are checked first, as they are on the way to a server."""

    registry: Registry

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None = None) -> Page[AdapterEntry]:
        backbone = None if filters.backbone is None else catalog.get_backbone(self.registry, filters.backbone)
        page = search.search_adapters(
            self.registry,
            kind=filters.kind,
            language=filters.language,
            task=filters.task,
            fingerprint=None if backbone is None else backbone.fingerprint,
            label=filters.label,
            prefix=filters.query,
            limit=limit,
            cursor=cursor,
        )
        return Page(items=tuple(_entry(summary) for summary in page.items), next_cursor=page.next_cursor)

    def adapter(self, name: str) -> AdapterEntry:
        return _entry(search.show_adapter(self.registry, check_name(name)))

    def versions(
        self, name: str, *, include_deleted: bool, limit: int, cursor: str | None = None
    ) -> Page[VersionSummary]:
        return search.list_versions(
            self.registry, check_name(name), include_deleted=include_deleted, limit=limit, cursor=cursor
        )

    def resolve(self, reference: AdapterRef) -> Version:
        return catalog.resolve(self.registry, reference)

    def lineage(self, name: str, number: int) -> Lineage:
        return lineage_of(self.registry, check_name(name), number)

    def evaluations(self, name: str, number: int, *, limit: int, cursor: str | None = None) -> Page[Evaluation]:
        return list_evaluations(self.registry, check_name(name), number, limit=limit, cursor=cursor)

    def publish(self, name: str, folder: AdapterFolder, transfer: Transfer) -> PublishedVersion:
        try:
            stream = folder.weights.open("rb")
        except OSError as error:
            raise InvalidWeights(f"cannot read {folder.weights}: {error.strerror}") from error
        with stream:
            transfer.on_bytes(0)
            watched = cast(BinaryIO, _Watched(stream=stream, transfer=transfer))
            return publish(self.registry, folder.manifest, watched, name=name)

    def weights(self, version: Version, start: int, transfer: Transfer) -> Iterator[bytes]:
        transfer.on_bytes(start)
        with self.registry.store.open(version.weights_digest, start=start) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                start += len(chunk)
                transfer.on_bytes(start)
                yield chunk

    def delete(self, name: str, number: int) -> None:
        versions.delete_version(self.registry, check_name(name), number)

    def restore(self, name: str, number: int) -> None:
        versions.restore_version(self.registry, check_name(name), number)

    def alias(self, name: str, alias: str) -> Alias:
        return aliases.get_alias(self.registry, check_name(name), check_alias(alias))

    def move_alias(self, name: str, alias: str, number: int, *, expected: int | None) -> Alias:
        return aliases.move_alias(self.registry, check_name(name), check_alias(alias), number, expected=expected)

    def remove_alias(self, name: str, alias: str, *, expected: int | None) -> None:
        aliases.remove_alias(self.registry, check_name(name), check_alias(alias), expected=expected)

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        return aliases.alias_history(self.registry, check_name(name), check_alias(alias))

    def set_default(self, reference: AdapterRef, version: Version) -> None:
        catalog.set_default(self.registry, reference, fingerprint=version.fingerprint)

    def clear_default(self, version: Version) -> None:
        catalog.clear_default(self.registry, kind=version.kind, key=version.key, fingerprint=version.fingerprint)

    def backbones(self) -> tuple[Backbone, ...]:
        return catalog.list_backbones(self.registry)


@dataclass(slots=True, kw_only=True)
class _Watched:
    """A stream whose reader is watched."""

    stream: BinaryIO
    transfer: Transfer
    received_bytes: int = 0

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.stream.read(size)
        self.received_bytes += len(chunk)
        self.transfer.on_bytes(self.received_bytes)
        return chunk


def _entry(summary: AdapterSummary) -> AdapterEntry:
    return AdapterEntry(
        name=summary.name,
        kind=summary.kind,
        language=summary.language,
        task=summary.task,
        created_at=summary.created_at,
        num_versions=summary.num_versions,
        newest=summary.newest,
        aliases={alias.alias: alias.number for alias in summary.aliases},
    )
