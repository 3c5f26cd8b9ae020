"""Adapters in host memory: read from the store by loader threads, each once however many requests want it.

A load begins when a request is accepted, whatever the device does meanwhile. A copy lives as long as a request or the
device holds it.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakValueDictionary

from madx.adapter import Adapter
from madx.errors import GlossaError
from madx.manifest import Digest
from registry.values import Version

from .errors import AdapterLoadFailed
from .metrics import Metrics


class HostedAdapters:
    """Safe to share between threads."""

    def __init__(self, *, read: Callable[[Version], Adapter], threads: int, metrics: Metrics) -> None:
        self._read = read
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="glossa-loader")
        self._lock = threading.Lock()
        self._at_hand: WeakValueDictionary[Digest, Adapter] = WeakValueDictionary()
        self._loading: dict[Digest, Future[Adapter]] = {}

    def want(self, version: Version) -> "Future[Adapter]":
        """The adapter, now or soon. The future raises `AdapterLoadFailed`, and nothing else."""
        digest = version.manifest_digest
        with self._lock:
            adapter = self._at_hand.get(digest)
            loading = self._loading.get(digest)
            if adapter is not None:
                self._metrics.lookups.labels(found="memory").inc()
                loading = Future()
                loading.set_result(adapter)
            elif loading is not None:
                self._metrics.lookups.labels(found="loading").inc()
            else:
                self._metrics.lookups.labels(found="store").inc()
                loading = self._loading[digest] = self._pool.submit(self._load, version)
            return loading

    def close(self) -> None:
        """Loads that run go on to their end; nobody waits for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _load(self, version: Version) -> Adapter:
        started_s = time.monotonic()
        adapter: Adapter | None = None
        try:
            adapter = self._read(version)
        except Exception as error:  # a failure of any kind must reach those who wait, as one they can tell
            reason = str(error) if isinstance(error, GlossaError) else type(error).__name__
            raise AdapterLoadFailed(f"{version.reference} cannot be loaded: {reason}") from error
        finally:
            self._metrics.load_seconds.observe(time.monotonic() - started_s)
            self._metrics.loads.labels(result="failed" if adapter is None else "ok").inc()
            with self._lock:
                del self._loading[version.manifest_digest]
                if adapter is not None:
                    self._at_hand[version.manifest_digest] = adapter
        return adapter
