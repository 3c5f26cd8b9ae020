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
from math import ceil
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
from .fetching import Came, Fetch, Fetches, NotBegun
from .host import HostMemory
from .negative import FIRST_S, FailedLoads
from .places import Lease, Sized
from .reading import Source, Weights

CACHED_WITHIN_S = 5.0  # a disk that takes longer is not waited for

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
        read: Callable[[Version, Came], Weights],
        read_cached: Callable[[Version], bytes | None] | None,
        decode: Callable[[Version, bytes], Adapter],
        stage: Stage[_Staged],
        threads: int,
        fetches: int,
        timeout_s: float,
        metrics: Metrics,
    ) -> None:
        """`read` runs in up to `fetches` threads that may hang, `decode` and `stage` in `threads` that do not.

        `read_cached` gives what lies on a disk of this machine, or None; it runs in threads of its own, so that a store
        that hangs holds up nothing that lies there, and a disk that hangs costs a fetch.
        """
        self._device = device
        self._host = host
        self._read = read
        self._decode = decode
        self._stage = stage
        self._metrics = metrics
        self._read_cached = read_cached
        self._fetches: Fetches[Weights] = Fetches(at_once=fetches, timeout_s=timeout_s)
        self._cached: Fetches[bytes | None] | None = None
        if read_cached is not None:
            self._cached = Fetches(at_once=fetches, timeout_s=min(CACHED_WITHIN_S, timeout_s))
        self._loaders = _loaders(threads)
        self._failed = FailedLoads()
        self._is_closed = False
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
        """What has not begun is refused. What runs goes on to its end; nobody waits for it."""
        self._is_closed = True
        self._fetches.close()
        if self._cached is not None:
            self._cached.close()
        self._device.close()
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
        if self._read_cached is None or self._cached is None:
            self._fetch(load)
        else:
            read = partial(self._read_cached, load.version)
            self._cached.start(lambda _: read(), partial(self._looked, load))

    def _looked(self, load: _Load, fetch: Fetch[bytes | None], outcome: bytes | Exception | None) -> None:
        """In the thread that looked for it on disk, or that gave it up."""
        assert self._cached is not None
        leave = partial(self._cached.leave, fetch)
        if isinstance(outcome, bytes):
            self._hand_on(load, partial(self._unpack, load, leave, Weights(content=outcome, source="disk")))
        else:
            leave()
            self._fetch(load)

    def _fetch(self, load: _Load) -> None:
        self._fetches.start(partial(self._read, load.version), partial(self._fetched, load))

    def _fetched(self, load: _Load, fetch: Fetch[Weights], outcome: Weights | Exception) -> None:
        """In the thread that fetched, or that gave it up."""
        leave = partial(self._fetches.leave, fetch)
        if isinstance(outcome, Exception):
            leave()
            self._fail(load, outcome)
        else:
            self._hand_on(load, partial(self._unpack, load, leave, outcome))

    def _hand_on(self, load: _Load, step: Callable[[], None]) -> None:
        try:
            running = self._loaders.submit(self._guarded, load, step)
        except RuntimeError:  # the pool is closed
            self._refuse(load)
        else:
            running.add_done_callback(lambda ran: self._refuse(load) if ran.cancelled() else None)

    def _guarded(self, load: _Load, step: Callable[[], None]) -> None:
        """A failure of any kind must reach those who wait."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - see above
            self._fail(load, error)

    def _unpack(self, load: _Load, leave: Callable[[], None], weights: Weights) -> None:
        try:
            adapter = self._decode(load.version, weights.content)
        finally:
            leave()
        self._bring_in(load, self._host.keep(load.version.manifest_digest, adapter), weights.source)

    def _bring_in(self, load: _Load, adapter: Adapter, source: Source) -> None:
        lease = self._device.admit(load.version, self._stage(adapter), load.future)
        self._failed.forget(load.version.manifest_digest)
        self._end(load)
        self._metrics.loads.labels(result="ok", source=source).inc()
        self._metrics.load_seconds.labels(source=source).observe(time.monotonic() - load.began_s)
        load.future.set_result(lease)

    def _fail(self, load: _Load, error: BaseException) -> None:
        if self._is_closed or isinstance(error, NotBegun):
            self._refuse(load)
            return
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

    def _refuse(self, load: _Load) -> None:
        """It was not tried, so nothing is remembered of it."""
        reason = "the server is shutting down" if self._is_closed else "too many others are being fetched; try again"
        self._metrics.loads.labels(result="failed", source="none").inc()
        self._end(load)
        load.future.set_exception(
            AdapterLoadFailed(f"{load.version.reference} was not loaded: {reason}", retry_after_s=ceil(FIRST_S))
        )

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


def _loaders(threads: int) -> ThreadPoolExecutor:
    """All started, so that a system without threads to give refuses the server and not, later, its loads."""
    loaders = ThreadPoolExecutor(threads, "glossa-loader", initializer=OneThread().begin)
    all_there = threading.Barrier(threads)
    for _ in range(threads):
        loaders.submit(all_there.wait)
    return loaders


def _raising(error: AdapterLoadFailed) -> "Future[Lease]":
    future: Future[Lease] = Future()
    future.set_exception(error)
    return future
