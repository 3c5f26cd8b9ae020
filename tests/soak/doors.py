"""The ways into a registry that the soak goes: through a running server, or straight to the functions."""

import io
import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import httpx

from registry import aliases, versions
from registry.errors import UnknownVersion, WeightsCollected
from registry.publish import publish
from registry.registry import Registry

from .contents import Content

TIMEOUT_S = 120
SMALLEST_BYTES = 1024  # less than any of the contents


class Refused(Exception):
    """The server asks to come again later."""


class Failed(Exception):
    """An answer that nobody should get."""


class Door(Protocol):
    """`download` gives None where there is no such live version, `restore` False where its weights are gone."""

    def publish(self, name: str, content: Content) -> int: ...

    def download(self, name: str, number: int) -> bytes | None: ...

    def delete(self, name: str, number: int) -> None: ...

    def restore(self, name: str, number: int) -> bool: ...

    def move(self, name: str, number: int, revision: int) -> int:
        """Compare and set `production`; the new revision."""
        ...


class RegistryDoor:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def publish(self, name: str, content: Content) -> int:
        weights = io.BytesIO(content.weights())
        return publish(self._registry, content.manifest, weights, name=name).version.number

    def download(self, name: str, number: int) -> bytes | None:
        try:
            version = versions.get_version(self._registry, name, number)
        except UnknownVersion:
            return None
        if version.deleted_at is not None:
            return None
        with self._registry.store.open(version.weights_digest) as stream:
            return stream.read()

    def delete(self, name: str, number: int) -> None:
        versions.delete_version(self._registry, name, number)

    def restore(self, name: str, number: int) -> bool:
        try:
            versions.restore_version(self._registry, name, number)
        except WeightsCollected:
            return False
        return True

    def move(self, name: str, number: int, revision: int) -> int:
        return aliases.move_alias(self._registry, name, "production", number, expected=revision).revision


class HttpDoor:
    """Half of what it publishes goes up in pieces, half of what it downloads comes down in two ranges."""

    def __init__(self, server: str) -> None:
        self._client = httpx.Client(base_url=server, timeout=TIMEOUT_S)

    def publish(self, name: str, content: Content) -> int:
        fields: dict[str, tuple[str | None, bytes]] = {"manifest": (None, content.manifest)}
        if random.random() < 0.5:
            fields["weights"] = ("adapter.safetensors", content.weights())
        else:
            fields["upload"] = (None, self._upload(content).encode())
        answer = self._ask("POST", f"/v1/adapters/{name}/versions", (200, 201), files=fields)
        return int(answer.json()["version"])

    def _upload(self, content: Content) -> str:
        weights = content.weights()
        asked = {"size_bytes": len(weights)} if random.random() < 0.5 else {}
        upload: str = self._ask("POST", "/v1/uploads", (201,), json=asked).json()["id"]
        for start, end in _pieces(len(weights)):
            headers = {"Content-Range": f"bytes {start}-{end - 1}/*", "Content-Type": "application/octet-stream"}
            self._ask("PATCH", f"/v1/uploads/{upload}", (202,), content=weights[start:end], headers=headers)
        self._ask("PUT", f"/v1/uploads/{upload}", (201,), params={"digest": f"sha256:{content.weights_digest}"})
        return upload

    def download(self, name: str, number: int) -> bytes | None:
        path = f"/v1/adapters/{name}/versions/{number}/weights"
        if random.random() < 0.5:
            answer = self._ask("GET", path, (200, 404, 410))
            return answer.content if answer.status_code == 200 else None
        middle = random.randrange(1, SMALLEST_BYTES)
        first = self._ask("GET", path, (206, 404, 410), headers={"Range": f"bytes=0-{middle - 1}"})
        rest = self._ask("GET", path, (206, 404, 410), headers={"Range": f"bytes={middle}-"})
        return first.content + rest.content if {first.status_code, rest.status_code} == {206} else None

    def delete(self, name: str, number: int) -> None:
        self._ask("DELETE", f"/v1/adapters/{name}/versions/{number}", (204,))

    def restore(self, name: str, number: int) -> bool:
        answer = self._ask("POST", f"/v1/adapters/{name}/versions/{number}/restore", (200, 409, 410))
        return answer.status_code == 200

    def move(self, name: str, number: int, revision: int) -> int:
        path = f"/v1/adapters/{name}/aliases/production"
        condition = {"If-Match": f'"{revision}"'} if revision else {"If-None-Match": "*"}
        return int(self._ask("PUT", path, (200, 201), json={"version": number}, headers=condition).json()["revision"])

    def _ask(self, method: str, path: str, expected: tuple[int, ...], **request: object) -> httpx.Response:
        answer = self._client.request(method, path, **request)  # type: ignore[arg-type]
        if answer.status_code == 429:
            raise Refused
        if answer.status_code not in expected:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer


def _pieces(length: int) -> Iterator[tuple[int, int]]:
    """One to four stretches that make up the whole."""
    cuts = sorted({0, length, *(random.randrange(1, length) for _ in range(random.randrange(4)))})
    return pairwise(cuts)
