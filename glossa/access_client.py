"""The keys and the audit of a server, over HTTP: what `Client.access` is. They need a key of the role admin."""

from collections.abc import Iterator

from .connection import Connection, Json, path_of

Item = dict[str, Json]


class AccessClient:
    """Every method raises `ClientError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_key(self, name: str, role: str, *, names: str | None = None, expires_in_days: int | None = None) -> Item:
        """The new key; its text, under `key`, cannot be asked for again. `names` is a pattern such as `sw-*`."""
        asked = {"name": name, "role": role, "names": names, "expires_in_days": expires_in_days}
        return self._connection.object("POST", path_of("keys"), json=asked)

    def keys(self) -> Iterator[Item]:
        """Newest first, with those that were revoked."""
        return self._connection.pages(path_of("keys"))

    def revoke_key(self, key_id: str) -> None:
        """A server that has just seen the key may take it for some seconds more."""
        self._connection.send("DELETE", path_of("keys", key_id))

    def audit(self, *, subject: str | None = None, actor: str | None = None) -> Iterator[Item]:
        """Newest first."""
        return self._connection.pages(path_of("audit"), {"subject": subject, "actor": actor, "limit": 200})
