"""Adapters in the host's memory, behind a device with a memory of its own: by bytes, least recently used first.

On the CPU there is none: what is in the host's memory is on the device.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from madx.adapter import Adapter
from madx.manifest import Digest

from ..metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    adapter: Adapter
    size_bytes: int
    since_s: float


class HostMemory:
    """Safe to share between threads."""

    def __init__(self, *, limit_bytes: int, host_copy: Callable[[Adapter], Adapter], metrics: Metrics) -> None:
        """`host_copy` makes of an adapter what the device copies from at once (`Bank.host_copy`)."""
        self.limit_bytes = limit_bytes
        self._host_copy = host_copy
        self._metrics = metrics
        self._lock = threading.Lock()
        self._kept: OrderedDict[Digest, _Kept] = OrderedDict()
        self._used_bytes = 0
        metrics.tier_limit_bytes.labels(tier="host").set(limit_bytes)

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, digest: Digest) -> Adapter | None:
        with self._lock:
            kept = self._kept.get(digest)
            if kept is None:
                return None
            self._kept.move_to_end(digest)
            return kept.adapter

    def keep(self, digest: Digest, adapter: Adapter) -> Adapter:
        """What to bring to the device: its copy, if it is kept. What does not fit at all is not."""
        if not self.limit_bytes:
            return adapter
        copy = self._host_copy(adapter)
        size_bytes = held_bytes(copy)
        with self._lock:
            if size_bytes <= self.limit_bytes and digest not in self._kept:
                self._make_room(size_bytes)
                self._kept[digest] = _Kept(adapter=copy, size_bytes=size_bytes, since_s=time.monotonic())
                self._used_bytes += size_bytes
                self._tell()
        return copy

    def _make_room(self, size_bytes: int) -> None:
        while self._used_bytes + size_bytes > self.limit_bytes:
            _, gone = self._kept.popitem(last=False)
            self._used_bytes -= gone.size_bytes
            self._metrics.evictions.labels(tier="host").inc()
            self._metrics.eviction_age_seconds.labels(tier="host").observe(time.monotonic() - gone.since_s)

    def _tell(self) -> None:
        self._metrics.resident_adapters.labels(tier="host").set(len(self._kept))
        self._metrics.resident_bytes.labels(tier="host").set(self._used_bytes)


def held_bytes(adapter: Adapter) -> int:
    """What its memory takes of the host's: page-locked memory is given out in powers of two."""
    tensors = list(adapter.state_dict().values())
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    if tensors[0].is_pinned():
        return sum(1 << (size_bytes - 1).bit_length() for size_bytes in storages.values())
    return sum(storages.values())
