"""What comes from the store is what was published, or nothing, and is kept on disk."""

from pathlib import Path

import pytest

from registry.errors import BlobCorrupt, UnknownBlob
from registry.registry import Registry
from registry.values import Version
from service.metrics import Metrics
from service.residency.disk import DiskCache
from service.residency.reading import StoreReader
from tests.support.served import Home


def blob_of(home: Home, version: Version) -> Path:
    return home.folder / "blobs" / version.weights_digest[:2] / version.weights_digest[2:]


def cache_of(folder: Path) -> DiskCache:
    return DiskCache(folder, limit_bytes=1 << 20, metrics=Metrics())


def content_of(registry: Registry, cache: DiskCache, version: Version) -> bytes:
    return StoreReader(registry, cache)(version, lambda: None).content


def test_what_was_fetched_once_lies_on_disk(own_home: Home, tmp_path: Path) -> None:
    version, cache = own_home.version("sw"), cache_of(tmp_path / "cache")
    with own_home.registry() as registry:
        content = content_of(registry, cache, version)
    assert content == blob_of(own_home, version).read_bytes() == cache.read(version.weights_digest)


def test_a_read_says_that_bytes_have_come(own_home: Home, tmp_path: Path) -> None:
    version = own_home.version("sw")
    came: list[None] = []
    with own_home.registry() as registry:
        StoreReader(registry, None)(version, lambda: came.append(None))
    assert came


def test_what_is_damaged_in_the_store_is_neither_used_nor_kept(own_home: Home, tmp_path: Path) -> None:
    version, cache = own_home.version("sw"), cache_of(tmp_path / "cache")
    blob = blob_of(own_home, version)
    sound = blob.read_bytes()
    blob.write_bytes(sound[:-1] + b"x")
    with own_home.registry() as registry:
        with pytest.raises(BlobCorrupt, match="sw@1"):
            content_of(registry, cache, version)
        assert cache.read(version.weights_digest) is None
        blob.write_bytes(sound + b"more")
        with pytest.raises(BlobCorrupt):
            content_of(registry, cache, version)
        blob.unlink()
        with pytest.raises(UnknownBlob):
            content_of(registry, cache, version)
