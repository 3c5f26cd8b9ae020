"""The registry of a server, over HTTP: what `Client.catalogue` is. It hands out the JSON that docs/serving.md shows."""

import itertools
from collections.abc import Iterator, Mapping

from madx.manifest import digest_of

from .connection import ClientError, Connection, Json, path_of

Item = dict[str, Json]
Query = Mapping[str, str | int | bool | None]
_TRIES = 9  # an alias may come and go meanwhile


class CatalogueClient:
    """Adapters, versions, aliases, defaults, backbones. Every method raises `ClientError`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def adapters(self, **filters: str | None) -> Iterator[Item]:
        """By name. Filters: `kind`, `language`, `task`, `backbone` (name or fingerprint), `label`, `q` (how the name
        begins).
        """
        return self._connection.pages(path_of("adapters"), filters)

    def adapters_page(
        self, *, limit: int, cursor: str | None = None, **filters: str | None
    ) -> tuple[list[Item], str | None]:
        """One page, and the cursor of the next. Filters as for `adapters`."""
        return self._connection.page(path_of("adapters"), {"limit": limit, "cursor": cursor, **filters})

    def adapter(self, name: str) -> Item:
        return self._connection.object("GET", path_of("adapters", name))

    def versions(self, name: str, *, include_deleted: bool = False) -> Iterator[Item]:
        """Newest first."""
        query = {"include_deleted": True} if include_deleted else {}
        return self._connection.pages(path_of("adapters", name, "versions"), query)

    def versions_page(
        self, name: str, *, limit: int, cursor: str | None = None, include_deleted: bool = False
    ) -> tuple[list[Item], str | None]:
        query: Query = {"limit": limit, "cursor": cursor, "include_deleted": include_deleted or None}
        return self._connection.page(path_of("adapters", name, "versions"), query)

    def version(self, name: str, version: int) -> Item:
        """With its `manifest`, parsed; deleted or not."""
        return self._connection.object("GET", version_path(name, version))

    def manifest(self, name: str, version: int, *, digest: str | None = None) -> bytes:
        """Byte for byte. `digest`, where it is known, is what they must have."""
        content = self._connection.send("GET", version_path(name, version, "manifest")).content
        if digest is not None and digest_of(content) != digest:
            raise ClientError(
                f"the manifest of {name}@{version} came with another sha256 than its own; try again",
                code="digest_mismatch",
                status=None,
            )
        return content

    def resolve(self, reference: str) -> Item:
        """The version that `name@3`, `name@production` or `name` stands for."""
        return self._connection.object("GET", path_of("resolve"), query={"reference": reference})

    def lineage(self, name: str, version: int) -> Item:
        return self._connection.object("GET", version_path(name, version, "lineage"))

    def evaluations(self, name: str, version: int) -> Iterator[Item]:
        """Newest first."""
        return self._connection.pages(version_path(name, version, "evaluations"))

    def evaluations_page(
        self, name: str, version: int, *, limit: int, cursor: str | None = None
    ) -> tuple[list[Item], str | None]:
        return self._connection.page(version_path(name, version, "evaluations"), {"limit": limit, "cursor": cursor})

    def add_evaluation(self, name: str, version: int, evaluation: Item) -> Item:
        return self._connection.object("POST", version_path(name, version, "evaluations"), json=evaluation)

    def delete_version(self, name: str, version: int) -> None:
        """Softly: `restore_version` brings it back until its weights are collected."""
        self._connection.send("DELETE", version_path(name, version))

    def restore_version(self, name: str, version: int) -> Item:
        return self._connection.object("POST", version_path(name, version, "restore"))

    def aliases(self, name: str) -> Iterator[Item]:
        return self._connection.pages(path_of("adapters", name, "aliases"))

    def alias(self, name: str, alias: str) -> Item:
        return self._connection.object("GET", _alias_path(name, alias))

    def alias_history(self, name: str, alias: str) -> Iterator[Item]:
        return self._connection.pages(path_of("adapters", name, "aliases", alias, "history"))

    def set_alias(self, name: str, alias: str, version: int, *, expected: int | None = None) -> Item:
        """Compare and set: `expected` is the alias's revision, 0 for "not there yet", None for "whatever it is".

        Raises `ClientError` with code `precondition_failed` where it is another.
        """
        body = {"version": version}
        path = _alias_path(name, alias)
        if expected is not None:
            return self._connection.object("PUT", path, json=body, headers=_precondition(expected))
        for attempt in itertools.count():
            headers = {"If-None-Match": "*"} if attempt % 2 else {"If-Match": "*"}
            try:
                return self._connection.object("PUT", path, json=body, headers=headers)
            except ClientError as error:
                if error.code != "precondition_failed" or attempt >= _TRIES:
                    raise
        raise AssertionError("counting does not end")

    def remove_alias(self, name: str, alias: str, *, expected: int | None = None) -> None:
        """`expected` as for `set_alias`."""
        headers = {"If-Match": "*"} if expected is None else _precondition(expected)
        self._connection.send("DELETE", _alias_path(name, alias), headers=headers)

    def set_default(self, kind: str, key: str, reference: str, *, fingerprint: str | None = None) -> Item:
        """What runs for language or task `key` where a request names no adapter, on the server's backbone or that of
        `fingerprint`.
        """
        body = {"reference": reference} | ({} if fingerprint is None else {"fingerprint": fingerprint})
        return self._connection.object("PUT", path_of("defaults", kind, key), json=body)

    def clear_default(self, kind: str, key: str, *, fingerprint: str | None = None) -> None:
        self._connection.send("DELETE", path_of("defaults", kind, key), query={"fingerprint": fingerprint})

    def backbones(self) -> Iterator[Item]:
        return self._connection.pages(path_of("backbones"))


def version_path(name: str, version: int, *rest: str) -> str:
    return path_of("adapters", name, "versions", version, *rest)


def _alias_path(name: str, alias: str) -> str:
    return path_of("adapters", name, "aliases", alias)


def _precondition(expected: int) -> dict[str, str]:
    return {"If-None-Match": "*"} if expected == 0 else {"If-Match": f'"{expected}"'}
