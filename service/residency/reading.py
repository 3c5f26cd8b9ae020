"""A version's weights as bytes: from the disk cache, else from the blob store, whole and with the right digest.

Runs in fetch threads, which may wait for ever for a store.
"""

from dataclasses import dataclass
from typing import Literal

from madx.manifest import digest_of
from registry.errors import BlobCorrupt
from registry.registry import Registry
from registry.stores.local import LocalStore
from registry.values import Version

from .disk import DiskCache

Source = Literal["host", "disk", "store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    content: bytes
    source: Source


class WeightsReader:
    """`cache` is None where there is none. Safe to share between threads."""

    def __init__(self, registry: Registry, cache: DiskCache | None) -> None:
        self._store = registry.store
        self._cache = cache

    def __call__(self, version: Version) -> Weights:
        """Raises what the store raises, and `BlobCorrupt` for other bytes than were published."""
        content = None if self._cache is None else self._cache.read(version.weights_digest)
        if content is not None:
            return Weights(content=content, source="disk")
        with self._store.open(version.weights_digest) as stream:
            content = stream.read(version.size_bytes + 1)
        if digest_of(content) != version.weights_digest:
            raise BlobCorrupt(f"the weights of {version.reference} are damaged in the store; publish them again")
        if self._cache is not None:
            self._cache.write(version.weights_digest, content)
        return Weights(content=content, source="store")


def is_near(registry: Registry) -> bool:
    """Whether blobs lie in a folder of this machine, so that a cache on disk would only keep them twice."""
    return isinstance(registry.store, LocalStore)
