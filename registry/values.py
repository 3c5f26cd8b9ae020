"""What the registry hands out: values, free of sessions and rows."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from madx.config import BackboneConfig
from madx.manifest import Digest, Kind, Manifest

from .references import PRODUCTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """`masked_lm` says whether it carries a masked-LM head."""

    fingerprint: str
    name: str
    config: BackboneConfig
    masked_lm: bool
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable content of an adapter. `size_bytes` is that of the weights."""

    name: str
    number: int
    kind: Kind
    language: str | None
    task: str | None
    fingerprint: str
    manifest: Manifest
    manifest_bytes: bytes = field(repr=False)
    manifest_digest: Digest
    weights_digest: Digest
    size_bytes: int
    created_at: datetime
    deleted_at: datetime | None = None
    purged_at: datetime | None = None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def key(self) -> str:
        """The language or task that it runs for; a task adapter may have a language, too."""
        key = self.language if self.kind == "language" else self.task
        assert key is not None
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """`revision` is what `aliases.move_alias` compares."""

    adapter: str
    alias: str
    number: int
    revision: int
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One step of an alias's history; `number` is None where it was removed."""

    number: int | None
    revision: int
    actor: str
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """What runs for a language or task on a backbone where a request names no adapter; `reference` as it was set."""

    kind: Kind
    key: str
    fingerprint: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A name with its live versions, ascending by number, and its aliases, by name."""

    name: str
    kind: Kind
    language: str | None
    task: str | None
    created_at: datetime
    versions: tuple[Version, ...]
    aliases: tuple[Alias, ...]

    @property
    def production(self) -> Alias | None:
        return next((alias for alias in self.aliases if alias.alias == PRODUCTION), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """A version without its manifest, for lists."""

    name: str
    number: int
    fingerprint: str
    manifest_digest: Digest
    weights_digest: Digest
    size_bytes: int
    labels: tuple[str, ...]
    created_at: datetime
    deleted_at: datetime | None

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSummary:
    """An adapter for lists: how many live versions it has, of which `newest` is the newest, and its aliases by name."""

    name: str
    kind: Kind
    language: str | None
    task: str | None
    created_at: datetime
    num_versions: int
    newest: VersionSummary
    aliases: tuple[Alias, ...]


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item]):
    """Some items of a list; `next_cursor` gives those after them, and is None at the end."""

    items: tuple[Item, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, when, and for changes from which digest to which."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    from_digest: str | None
    to_digest: str | None
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something changed. `id` ascends; gaps are normal."""

    id: int
    at: datetime
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A resumable upload. `size_bytes` where it is known how many will come; `digest` as soon as they are whole."""

    id: str
    received_bytes: int
    size_bytes: int | None
    digest: Digest | None
    expires_at: datetime

    @property
    def complete(self) -> bool:
        return self.digest is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVersion:
    """`created` is false where the same manifest was already published under this name."""

    version: Version
    created: bool
