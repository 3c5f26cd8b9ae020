"""Weights come from the disk cache or the store, and are what was published, or nothing."""

from pathlib import Path

import pytest

from registry.errors import BlobCorrupt, UnknownBlob
from registry.registry import Registry
from registry.values import Version
from service.metrics import Metrics
from service.residency.disk import DiskCache
from service.residency.reading import WeightsReader
from tests.support.served import Home


def blob_of(home: Home, version: Version) -> Path:
    return home.folder / "blobs" / version.weights_digest[:2] / version.weights_digest[2:]


def cached(folder: Path, version: Version) -> Path:
    return folder / version.weights_digest[:2] / version.weights_digest[2:]


def reader_of(registry: Registry, folder: Path) -> tuple[WeightsReader, Metrics]:
    metrics = Metrics()
    return WeightsReader(registry, DiskCache(folder, limit_bytes=1 << 20, metrics=metrics)), metrics


def test_what_was_fetched_once_is_read_from_disk(own_home: Home, tmp_path: Path) -> None:
    version = own_home.version("sw")
    with own_home.registry() as registry:
        read, _ = reader_of(registry, tmp_path / "cache")
        first = read(version)
        blob_of(own_home, version).unlink()
        second = read(version)
    assert (first.source, second.source) == ("store", "disk")
    assert first.content == second.content


def test_a_wrong_digest_on_disk_is_fetched_anew(own_home: Home, tmp_path: Path) -> None:
    version = own_home.version("sw")
    with own_home.registry() as registry:
        read, metrics = reader_of(registry, tmp_path / "cache")
        sound = read(version).content
        cached(tmp_path / "cache", version).write_bytes(sound[:-1] + b"x")
        again = read(version)
        assert (again.content, again.source) == (sound, "store")
        assert metrics.value("glossa_cache_corrupt_total") == 1
        assert read(version).source == "disk"


def test_what_is_damaged_in_the_store_is_neither_used_nor_kept(own_home: Home, tmp_path: Path) -> None:
    version = own_home.version("sw")
    blob = blob_of(own_home, version)
    sound = blob.read_bytes()
    blob.write_bytes(sound[:-1] + b"x")
    with own_home.registry() as registry:
        read, _ = reader_of(registry, tmp_path / "cache")
        with pytest.raises(BlobCorrupt, match="sw@1"):
            read(version)
        assert not cached(tmp_path / "cache", version).exists()
        blob.write_bytes(sound + b"more")
        with pytest.raises(BlobCorrupt):
            read(version)
        blob.unlink()
        with pytest.raises(UnknownBlob):
            read(version)
