"""Weights on disk, by digest: what was fetched from a distant store once need not cross the network again.

A cache and no more: whatever fails here costs a fetch. Several processes may share the folder; a file is there whole or
not at all, is checked against its name when it is read, and its time of change says when it was used last.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from madx.manifest import Digest, digest_of, is_digest

from ..metrics import Metrics

_log = logging.getLogger(__name__)
_SUFFIX = ".part"
_ABANDONED_S = 3_600.0
_RESTS_S = 60.0
_KEPT_OF_LIMIT = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    size_bytes: int
    used_s: float


class DiskCache:
    """`folder` is made when it is first needed. Safe to share between threads and processes."""

    def __init__(self, folder: Path, *, limit_bytes: int, metrics: Metrics) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._metrics = metrics
        self._lock = threading.Lock()
        self._used_bytes = 0
        self._since_counted = 0
        self._is_known = False
        self._num_files = 0
        self._rests_until_s = float("-inf")
        metrics.tier_limit_bytes.labels(tier="disk").set(limit_bytes)

    @property
    def limit_bytes(self) -> int:
        return self._limit_bytes

    @property
    def used_bytes(self) -> int:
        """As of the last look at the folder, and what this process has written since."""
        return self._used_bytes

    def __len__(self) -> int:
        """Files, as of then."""
        return self._num_files

    def read(self, digest: Digest) -> bytes | None:
        """None where it is not there, or what is there is something else, which is removed."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fails(error)
            return None
        if digest_of(content) != digest:
            _log.warning("a cached file did not hold what it is named after; it is fetched anew: %s", path.name[:12])
            self._metrics.cache_corrupt.inc()
            with suppress(OSError):
                path.unlink(missing_ok=True)
            with self._lock:
                self._is_known = False
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def write(self, digest: Digest, content: bytes) -> None:
        """`content` has that digest. What cannot be kept is not."""
        if len(content) > self._limit_bytes or time.monotonic() < self._rests_until_s:
            return
        path = self._path(digest)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}{_SUFFIX}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_room(len(content))
            temporary.write_bytes(content)
            with self._lock:
                is_new = not path.exists()  # another process may have been faster
                temporary.replace(path)
                if is_new:
                    self._used_bytes += len(content)
                    self._since_counted += len(content)
                    self._num_files += 1
                self._tell()
                self._rests_until_s = float("-inf")
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self._fails(error)

    def tidy(self) -> None:
        """Look what is there, and remove what is too much by now. What is used and held is right from here on."""
        try:
            self._make_room(0)
        except OSError as error:
            self._fails(error)

    def _fails(self, error: OSError) -> None:
        """One line in the log for each rest, not for each load."""
        self._metrics.cache_errors.inc()
        with self._lock:
            if time.monotonic() < self._rests_until_s:
                return
            self._rests_until_s = time.monotonic() + _RESTS_S
        _log.warning("the disk cache cannot be used and rests for %.0f s: %s", _RESTS_S, error.strerror)

    def _make_room(self, size_bytes: int) -> None:
        """Other processes write here too: the folder is counted again after each sixteenth of the limit."""
        with self._lock:
            is_known = self._is_known and self._since_counted <= self._limit_bytes // 16
            if is_known and self._used_bytes + size_bytes <= self._limit_bytes:
                return
            files = sorted(self._files(), key=lambda file: file.used_s)
            used_bytes = sum(file.size_bytes for file in files)
            num_files = len(files)
            kept_bytes = self._limit_bytes
            if used_bytes + size_bytes > self._limit_bytes:
                kept_bytes = min(int(_KEPT_OF_LIMIT * self._limit_bytes), self._limit_bytes - size_bytes)
            for file in files:
                if used_bytes <= kept_bytes:
                    break
                file.path.unlink(missing_ok=True)
                used_bytes -= file.size_bytes
                num_files -= 1
                self._metrics.evictions.labels(tier="disk").inc()
            self._used_bytes, self._since_counted, self._num_files = used_bytes, 0, num_files
            self._is_known = True
            self._tell()

    def _tell(self) -> None:
        self._metrics.resident_bytes.labels(tier="disk").set(self.used_bytes)
        self._metrics.resident_adapters.labels(tier="disk").set(self._num_files)

    def _files(self) -> Iterator[_File]:
        """What is cached. Removes what a process left half-written long ago."""
        for shard in _entries(self._folder):
            for entry in _entries(Path(shard.path)):
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # another process was faster
                if entry.name.endswith(_SUFFIX):
                    if time.time() - status.st_mtime > _ABANDONED_S:
                        Path(entry.path).unlink(missing_ok=True)
                elif is_digest(shard.name + entry.name):
                    yield _File(path=Path(entry.path), size_bytes=status.st_size, used_s=status.st_mtime)

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest[:2] / digest[2:]


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
