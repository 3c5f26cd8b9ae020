"""Adapters in the host's memory, behind a device with a memory of its own: by bytes, least recently used first.

On the CPU there is none: what is in the host's memory is on the device.
"""

import threading
import time
from collections import OrderedDict
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
    """Safe to share between threads. `is_pinned`: in page-locked memory, from which a CUDA device copies by itself."""

    def __init__(self, *, limit_bytes: int, is_pinned: bool, metrics: Metrics) -> None:
        self.limit_bytes = limit_bytes
        self._is_pinned = is_pinned
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

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept

    def find(self, digest: Digest) -> Adapter | None:
        with self._lock:
            kept = self._kept.get(digest)
            if kept is None:
                return None
            self._kept.move_to_end(digest)
            return kept.adapter

    def keep(self, digest: Digest, adapter: Adapter) -> None:
        """What does not fit at all is not kept. Pins the adapter's weights in place."""
        size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in adapter.parameters())
        if size_bytes > self.limit_bytes or digest in self._kept:
            return
        if self._is_pinned:
            for parameter in adapter.parameters():
                parameter.data = parameter.data.pin_memory()
        with self._lock:
            if digest in self._kept:
                return
            self._make_room(size_bytes)
            self._kept[digest] = _Kept(adapter=adapter, size_bytes=size_bytes, since_s=time.monotonic())
            self._used_bytes += size_bytes
            self._tell()

    def _make_room(self, size_bytes: int) -> None:
        while self._used_bytes + size_bytes > self.limit_bytes:
            _, gone = self._kept.popitem(last=False)
            self._used_bytes -= gone.size_bytes
            self._metrics.evictions.labels(tier="host").inc()
            self._metrics.eviction_age_seconds.labels(tier="host").observe(time.monotonic() - gone.since_s)

    def _tell(self) -> None:
        self._metrics.resident_adapters.labels(tier="host").set(len(self._kept))
        self._metrics.resident_bytes.labels(tier="host").set(self._used_bytes)
