"""What `glossa keys` and `glossa audit` work on: this machine's registry or a server's, behind one protocol."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from registry import access, audit
from registry.access import Key, Role
from registry.pages import MOST_PER_PAGE, walked
from registry.registry import Registry
from registry.values import AuditEntry

from . import wire
from .client import Client
from .home import Home, settings_of
from .opening import api_key


class Administration(Protocol):
    """Raises `GlossaError`, with the same codes here and there. Lists are read page by page, newest first."""

    def create_key(self, name: str, role: Role, *, pattern: str | None, valid_days: int | None) -> tuple[Key, str]:
        """The key, and its text, which nobody can show again."""
        ...

    def keys(self) -> Iterator[Key]: ...

    def revoke_key(self, key_id: str) -> None: ...

    def audit(self, *, subject: str | None, actor: str | None) -> Iterator[AuditEntry]: ...


@contextmanager
def opened(server: str | None) -> Iterator[Administration]:
    """`server` is an address, or None for the registry of GLOSSA_HOME or DATABASE_URL."""
    if server is not None:
        with Client(server, api_key()) as client:
            yield RemoteAdministration(client=client)
        return
    with Home.of(settings_of()).registry() as registry:
        yield LocalAdministration(registry=registry)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAdministration:
    registry: Registry

    def create_key(self, name: str, role: Role, *, pattern: str | None, valid_days: int | None) -> tuple[Key, str]:
        valid_for = None if valid_days is None else timedelta(days=valid_days)
        return access.create_key(self.registry, name=name, role=role, pattern=pattern, valid_for=valid_for)

    def keys(self) -> Iterator[Key]:
        return walked(lambda cursor: access.list_keys(self.registry, cursor=cursor, limit=MOST_PER_PAGE))

    def revoke_key(self, key_id: str) -> None:
        access.revoke_key(self.registry, key_id)

    def audit(self, *, subject: str | None, actor: str | None) -> Iterator[AuditEntry]:
        return walked(
            lambda cursor: audit.list_audit(
                self.registry, subject=subject, actor=actor, cursor=cursor, limit=MOST_PER_PAGE
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAdministration:
    client: Client

    def create_key(self, name: str, role: Role, *, pattern: str | None, valid_days: int | None) -> tuple[Key, str]:
        item = self.client.access.create_key(name, role, names=pattern, expires_in_days=valid_days)
        return wire.key_of(item), wire.secret_of(item)

    def keys(self) -> Iterator[Key]:
        return map(wire.key_of, self.client.access.keys())

    def revoke_key(self, key_id: str) -> None:
        self.client.access.revoke_key(key_id)

    def audit(self, *, subject: str | None, actor: str | None) -> Iterator[AuditEntry]:
        return map(wire.audit_entry_of, self.client.access.audit(subject=subject, actor=actor))
