"""A version's weights as bytes, from the blob store, whole and with the right digest.

Runs in fetch threads, which may wait for ever for a store.
"""

from dataclasses import dataclass
from typing import BinaryIO, Literal

from madx.manifest import digest_of
from registry.errors import BlobCorrupt
from registry.registry import Registry
from registry.stores.blob import CHUNK_BYTES
from registry.stores.local import LocalStore
from registry.values import Version

from .disk import DiskCache
from .fetching import Came

Source = Literal["host", "disk", "store"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    content: bytes
    source: Source


class StoreReader:
    """Keeps what it has read in `cache`, which is None where there is none. Safe to share between threads."""

    def __init__(self, registry: Registry, cache: DiskCache | None) -> None:
        self._store = registry.store
        self._cache = cache

    def __call__(self, version: Version, came: Came) -> Weights:
        """Raises what the store raises, and `BlobCorrupt` for other bytes than were published."""
        with self._store.open(version.weights_digest) as stream:
            content = _read(stream, version.size_bytes + 1, came)
        if digest_of(content) != version.weights_digest:
            raise BlobCorrupt(f"the weights of {version.reference} are damaged in the store; publish them again")
        if self._cache is not None:
            self._cache.write(version.weights_digest, content)
        return Weights(content=content, source="store")


def _read(stream: BinaryIO, most_bytes: int, came: Came) -> bytes:
    chunks: list[bytes] = []
    left = most_bytes
    while chunk := stream.read(min(CHUNK_BYTES, left)):
        chunks.append(chunk)
        left -= len(chunk)
        came()
    return b"".join(chunks)


def is_near(registry: Registry) -> bool:
    """Whether blobs lie in a folder of this machine, so that a cache on disk would only keep them twice."""
    return isinstance(registry.store, LocalStore)
