"""The disk cache: checked when read, bounded by bytes, shared by processes, and never in the way."""

import os
from pathlib import Path

import pytest

from madx.manifest import Digest, digest_of
from service.metrics import Metrics
from service.residency.disk import DiskCache


def contents(number: int, size_bytes: int = 1_000) -> tuple[Digest, bytes]:
    content = number.to_bytes(4, "big") * (size_bytes // 4)
    return digest_of(content), content


def cache_of(folder: Path, *, limit_bytes: int = 10_000) -> tuple[DiskCache, Metrics]:
    metrics = Metrics()
    return DiskCache(folder, limit_bytes=limit_bytes, metrics=metrics), metrics


def files(folder: Path) -> set[str]:
    return {path.parent.name + path.name for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_read_by_another_process(tmp_path: Path) -> None:
    digest, content = contents(1)
    cache_of(tmp_path)[0].write(digest, content)
    assert cache_of(tmp_path)[0].read(digest) == content
    assert cache_of(tmp_path)[0].read(contents(2)[0]) is None


def test_what_is_not_what_its_name_says_is_removed_and_counted(tmp_path: Path) -> None:
    cache, metrics = cache_of(tmp_path)
    digest, content = contents(1)
    cache.write(digest, content)
    (tmp_path / digest[:2] / digest[2:]).write_bytes(content[:-1] + b"x")
    assert cache.read(digest) is None
    assert files(tmp_path) == set()
    assert metrics.value("glossa_cache_corrupt_total") == 1
    cache.write(digest, content)
    assert cache.read(digest) == content


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    cache, metrics = cache_of(tmp_path)
    made = [contents(number) for number in range(10)]
    for age, (digest, content) in enumerate(made):
        cache.write(digest, content)
        os.utime(tmp_path / digest[:2] / digest[2:], (1_000 + age, 1_000 + age))
    assert cache.read(made[0][0]) is not None  # used just now
    newest = contents(10)
    cache.write(*newest)
    left = files(tmp_path)
    assert made[0][0] in left
    assert newest[0] in left
    assert made[1][0] not in left
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 10_000
    assert (metrics.value("glossa_evictions_total", tier="disk") or 0) >= 1


def test_what_other_processes_write_counts(tmp_path: Path) -> None:
    ours, _ = cache_of(tmp_path)
    theirs, _ = cache_of(tmp_path)
    for number in range(50):
        ours.write(*contents(2 * number))
        theirs.write(*contents(2 * number + 1))
    held = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert held <= 10_000 + 2 * 10_000 // 16 + 2 * 1_000


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache, _ = cache_of(tmp_path, limit_bytes=100)
    digest, content = contents(1)
    cache.write(digest, content)
    assert cache.read(digest) is None


def test_a_disk_that_takes_nothing_costs_one_line_and_no_load(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file stands where the folder would be: every write fails, as on a full disk."""
    folder = tmp_path / "cache"
    folder.write_bytes(b"")
    cache, metrics = cache_of(folder)
    for number in range(5):
        digest, content = contents(number)
        cache.write(digest, content)
        assert cache.read(digest) is None
    assert len([record for record in caplog.records if "disk cache" in record.message]) == 1
    assert (metrics.value("glossa_cache_errors_total") or 0) >= 1


def test_files_that_were_left_half_written_go(tmp_path: Path) -> None:
    digest, content = contents(1)
    shard = tmp_path / digest[:2]
    shard.mkdir()
    old, young = shard / "old.1.2.part", shard / "young.1.2.part"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1_000, 1_000))
    cache_of(tmp_path)[0].write(digest, content)
    assert not old.exists()
    assert young.exists()


def test_what_lies_there_is_known_before_the_first_write_and_cut_to_a_lower_limit(tmp_path: Path) -> None:
    first, _ = cache_of(tmp_path)
    made = [contents(number) for number in range(8)]
    for age, (digest, content) in enumerate(made):
        first.write(digest, content)
        os.utime(tmp_path / digest[:2] / digest[2:], (1_000 + age, 1_000 + age))
    again, metrics = cache_of(tmp_path)
    again.tidy()
    assert (len(again), again.used_bytes) == (8, 8_000)
    assert metrics.value("glossa_resident_bytes", tier="disk") == 8_000
    lower, _ = cache_of(tmp_path, limit_bytes=4_000)
    lower.tidy()
    assert (len(lower), lower.used_bytes) == (3, 3_000)
    assert files(tmp_path) == {digest for digest, _ in made[-3:]}


def test_what_is_written_again_counts_once(tmp_path: Path) -> None:
    cache, _ = cache_of(tmp_path, limit_bytes=1 << 20)
    digest, content = contents(1)
    for _ in range(3):
        cache.write(digest, content)
    assert (len(cache), cache.used_bytes) == (1, 1_000)
    (tmp_path / digest[:2] / digest[2:]).write_bytes(b"x")
    assert cache.read(digest) is None
    cache.write(digest, content)
    assert (len(cache), cache.used_bytes) == (1, 1_000)
