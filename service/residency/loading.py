"""Adapters on their way to the device: wanted by requests, fetched, decoded and staged beside the hot path, once each.

`want` is all that requests know of it; the device thread takes what has come from `device`.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from madx.adapter import Adapter
from madx.errors import GlossaError
from madx.manifest import Digest
from madx.threads import OneThread
from registry.errors import BlobCorrupt, StoreUnavailable, UnknownBlob
from registry.values import Version

from ..errors import AdapterLoadFailed
from ..logs import where
from ..metrics import Metrics
from .device import DeviceMemory
from .fetching import Fetch, Fetches
from .host import HostMemory
from .negative import FailedLoads
from .places import Lease, Sized
from .reading import Source, Weights

_log = logging.getLogger(__name__)

_Staged = TypeVar("_Staged", bound=Sized)
_StagedOut_co = TypeVar("_StagedOut_co", bound=Sized, covariant=True)


class Stage(Protocol[_StagedOut_co]):
    def __call__(self, adapter: Adapter) -> _StagedOut_co: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """One version that is not on the device yet; all who want it hold `future`."""

    version: Version
    future: "Future[Lease]"
    began_s: float


class Loading(Generic[_Staged]):
    """Safe to share between threads."""

    def __init__(
        self,
        *,
        device: DeviceMemory[_Staged],
        host: HostMemory,
        read: Callable[[Version], Weights],
        decode: Callable[[Version, bytes], Adapter],
        stage: Stage[_Staged],
        threads: int,
        fetches: int,
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        """`read` runs in up to `fetches` threads that may hang, `decode` and `stage` in `threads` that do not."""
        self._device = device
        self._host = host
        self._read = read
        self._decode = decode
        self._stage = stage
        self._metrics = metrics
        self._fetches: Fetches[Weights] = Fetches(at_once=fetches, timeout_s=timeout_s)
        self._loaders = ThreadPoolExecutor(threads, "glossa-loader", initializer=OneThread().begin)
        self._failed = FailedLoads()
        self._lock = threading.Lock()
        self._loading: dict[Digest, _Load] = {}
        self._found = {found: metrics.lookups.labels(found=found) for found in ("device", "loading", "failed", "no")}

    def __len__(self) -> int:
        return len(self._loading)

    @property
    def failed(self) -> FailedLoads:
        return self._failed

    def want(self, version: Version) -> "Future[Lease]":
        """Its lease, now or soon. The future raises `AdapterLoadFailed`, and nothing else."""
        digest = version.manifest_digest
        with self._lock:
            future = self._device.find(digest)
            if future is not None:
                self._found["device"].inc()
                return future
            if digest in self._loading:
                self._found["loading"].inc()
                return self._loading[digest].future
            refusal = self._failed.refusal(digest)
            if refusal is not None:
                self._found["failed"].inc()
                return _raising(refusal)
            self._found["no"].inc()
            load = self._register(version)
        self._begin(load)
        return load.future

    def close(self) -> None:
        """Loads that run go on to their end; nobody waits for them."""
        self._fetches.close()
        self._loaders.shutdown(wait=False, cancel_futures=True)

    def _register(self, version: Version) -> _Load:
        future: Future[Lease] = Future()
        future.set_running_or_notify_cancel()  # one of those who wait must not cancel it for all
        load = self._loading[version.manifest_digest] = _Load(version=version, future=future, began_s=time.monotonic())
        return load

    def _begin(self, load: _Load) -> None:
        adapter = self._host.find(load.version.manifest_digest)
        if adapter is not None:
            self._hand_on(load, partial(self._bring_in, load, adapter, "host"))
            return
        self._fetches.start(partial(self._read, load.version), partial(self._fetched, load))

    def _fetched(self, load: _Load, fetch: Fetch[Weights], outcome: Weights | Exception) -> None:
        """In the thread that fetched, or that gave it up."""
        if isinstance(outcome, Exception):
            self._fetches.leave(fetch)
            self._fail(load, outcome)
        else:
            self._hand_on(load, partial(self._unpack, load, fetch, outcome))

    def _hand_on(self, load: _Load, step: Callable[[], None]) -> None:
        try:
            self._loaders.submit(self._guarded, load, step)
        except RuntimeError as error:  # the pool is closed: the server is shutting down
            self._fail(load, error)

    def _guarded(self, load: _Load, step: Callable[[], None]) -> None:
        """A failure of any kind must reach those who wait."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            self._fail(load, error)

    def _unpack(self, load: _Load, fetch: Fetch[Weights], weights: Weights) -> None:
        self._fetches.leave(fetch)
        adapter = self._decode(load.version, weights.content)
        self._host.keep(load.version.manifest_digest, adapter)
        self._bring_in(load, adapter, weights.source)

    def _bring_in(self, load: _Load, adapter: Adapter, source: Source) -> None:
        lease = self._device.admit(load.version, self._stage(adapter), load.future)
        self._failed.forget(load.version.manifest_digest)
        self._end(load)
        self._metrics.loads.labels(result="ok", source=source).inc()
        self._metrics.load_seconds.labels(source=source).observe(time.monotonic() - load.began_s)
        load.future.set_result(lease)

    def _fail(self, load: _Load, error: BaseException) -> None:
        reason = _reason(error)
        _log.warning("%s cannot be loaded: %s: %s", load.version.reference, reason, where(error))
        if isinstance(error, StoreUnavailable):
            _log.warning("%s", error)  # its addresses and paths are for the log alone
        self._metrics.loads.labels(result="failed", source="none").inc()
        refusal = self._failed.remember(
            load.version.manifest_digest,
            load.version.reference,
            reason,
            is_permanent=isinstance(error, GlossaError) and not isinstance(error, StoreUnavailable),
        )
        self._end(load)
        load.future.set_exception(refusal)

    def _end(self, load: _Load) -> None:
        with self._lock:
            del self._loading[load.version.manifest_digest]


def _reason(error: BaseException) -> str:
    """In words for those who asked: without addresses and paths of what stands behind the server."""
    if isinstance(error, StoreUnavailable):
        return "the blob store does not answer"
    if isinstance(error, UnknownBlob):
        return "the blob store has lost its weights; publish them again"
    if isinstance(error, BlobCorrupt):
        return "its weights are damaged in the store; publish them again"
    return str(error) if isinstance(error, GlossaError) else f"{type(error).__name__}; the server's log says where"


def _raising(error: AdapterLoadFailed) -> "Future[Lease]":
    future: Future[Lease] = Future()
    future.set_exception(error)
    return future
