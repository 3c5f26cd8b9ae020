"""What the registry commands work on: the registry of this machine or that of a server, behind one protocol.

`local_catalogue` and `remote_catalogue` are the two. Both hand out the same values and raise errors with the same
codes, so that a command is written once; one contract test class holds them together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from madx.manifest import Kind
from registry.evaluations import Evaluation
from registry.lineage import Lineage
from registry.references import AdapterRef
from registry.values import Alias, AliasMove, Backbone, Page, PublishedVersion, Version, VersionSummary

from .connection import ClientError
from .folders import AdapterFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterEntry:
    """An adapter in a list: how many live versions it has, of which `newest` is the newest; alias -> number."""

    name: str
    kind: Kind
    language: str | None
    task: str | None
    created_at: datetime
    num_versions: int
    newest: VersionSummary
    aliases: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which adapters are listed. `backbone` is a name or a fingerprint, `query` how the name begins."""

    kind: Kind | None = None
    language: str | None = None
    task: str | None = None
    backbone: str | None = None
    label: str | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Who watches bytes on their way. `on_bytes` is told how many have come altogether; `on_wait` that the server is
    away, and for how many seconds nothing is tried.
    """

    on_bytes: Callable[[int], None]
    on_wait: Callable[[ClientError, float], None]


class Catalogue(Protocol):
    """Raises `GlossaError`; which one, each method of `registry` says that does the same."""

    def adapters(self, filters: Filters, *, limit: int, cursor: str | None = None) -> Page[AdapterEntry]:
        """By name."""
        ...

    def adapter(self, name: str) -> AdapterEntry: ...

    def versions(
        self, name: str, *, include_deleted: bool, limit: int, cursor: str | None = None
    ) -> Page[VersionSummary]:
        """Newest first."""
        ...

    def resolve(self, reference: AdapterRef) -> Version: ...

    def lineage(self, name: str, number: int) -> Lineage:
        """A deleted version has its lineage still."""
        ...

    def evaluations(self, name: str, number: int, *, limit: int, cursor: str | None = None) -> Page[Evaluation]:
        """Newest first, of a version that may be deleted."""
        ...

    def publish(self, name: str, folder: AdapterFolder, transfer: Transfer) -> PublishedVersion:
        """The same content twice is one version."""
        ...

    def weights(self, version: Version, start: int, transfer: Transfer) -> Iterator[bytes]:
        """From byte `start` on, piece by piece."""
        ...

    def delete(self, name: str, number: int) -> None: ...

    def restore(self, name: str, number: int) -> None: ...

    def alias(self, name: str, alias: str) -> Alias: ...

    def move_alias(self, name: str, alias: str, number: int, *, expected: int | None) -> Alias:
        """`expected` is the alias's present revision, 0 for "not there yet", None for "whatever it is"."""
        ...

    def remove_alias(self, name: str, alias: str, *, expected: int | None) -> None: ...

    def alias_history(self, name: str, alias: str) -> tuple[AliasMove, ...]:
        """Oldest first, with removals."""
        ...

    def set_default(self, reference: AdapterRef, version: Version) -> None:
        """`version` is what `reference` stands for now: it says the kind, the language or task, and the backbone."""
        ...

    def clear_default(self, version: Version) -> None: ...

    def backbones(self) -> tuple[Backbone, ...]: ...
