"""All tiers of adapters' weights as one thing: device <- host memory <- cache on disk <- blob store."""

import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from madx.bank import Staged
from madx.checkpoint import from_named_weights
from registry.registry import Registry
from registry.values import Version

from ..errors import AdapterLoadFailed
from ..metrics import Metrics
from ..model import Model
from ..settings import Settings
from .device import DeviceMemory
from .disk import DiskCache
from .fetching import Came
from .host import HostMemory
from .loading import Loading
from .places import Lease
from .reading import Weights, is_near


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of bytes in each tier that this process fills, and of threads. `host_bytes` matter to CUDA devices alone."""

    device_bytes: int
    host_bytes: int
    loaders: int
    fetches: int
    load_timeout_s: float


class Residency:
    """`device` has a part that is the device thread's; everything else here is safe to share between threads."""

    def __init__(
        self,
        *,
        model: Model,
        read: Callable[[Version, Came], Weights],
        limits: Limits,
        wake: Callable[[], None],
        metrics: Metrics,
        disk: DiskCache | None = None,
    ) -> None:
        """`read` brings a version's bytes from the store; `wake` makes an idle device thread take a turn."""
        has_own_memory = model.loaded.backbone.device.type != "cpu"
        self.disk = disk
        self.host = HostMemory(
            limit_bytes=limits.host_bytes if has_own_memory else 0, host_copy=model.bank.host_copy, metrics=metrics
        )
        self.device: DeviceMemory[Staged] = DeviceMemory(
            model.bank, limit_bytes=limits.device_bytes, metrics=metrics, wake=wake
        )
        self.loading: Loading[Staged] = Loading(
            device=self.device,
            host=self.host,
            read=read,
            read_cached=None if disk is None else lambda version: disk.read(version.weights_digest),
            decode=lambda version, content: from_named_weights(content, version.manifest, model.loaded.config),
            stage=partial(model.bank.stage, given=True),
            threads=limits.loaders,
            fetches=limits.fetches,
            timeout_s=limits.load_timeout_s,
            metrics=metrics,
        )

    def check(self, versions: Collection[Version]) -> None:
        """Raises `AdapterLoadFailed` where one request asks for more than twice what the device has room for.

        It holds all its adapters until its last row is done: the limit would give way to one after the other, and every
        other load would wait behind them.
        """
        size_bytes = sum(version.size_bytes for version in versions)
        if size_bytes > 2 * self.device.limit_bytes:
            raise AdapterLoadFailed(
                f"the request names {len(versions)} adapters with {size_bytes} bytes, more than twice the "
                f"{self.device.limit_bytes} that this server has for adapters; send fewer languages at once, or raise "
                "GLOSSA_ADAPTER_BYTES"
            )

    def want(self, version: Version) -> "Future[Lease]":
        """Its lease, now or soon; as long as somebody holds it, it stays. Raises `AdapterLoadFailed` alone."""
        return self.loading.want(version)

    def close(self) -> None:
        self.loading.close()


def limits_of(settings: Settings) -> Limits:
    return Limits(
        device_bytes=settings.adapter_bytes,
        host_bytes=settings.host_bytes,
        loaders=settings.loaders,
        fetches=settings.fetches,
        load_timeout_s=settings.load_timeout_s,
    )


def open_disk(settings: Settings, registry: Registry, metrics: Metrics) -> DiskCache | None:
    """None where blobs lie on this machine's disk already, or the cache is switched off."""
    if is_near(registry) or not settings.cache_bytes:
        return None
    disk = DiskCache(settings.home / "cache", limit_bytes=settings.cache_bytes, metrics=metrics)
    threading.Thread(target=disk.tidy, name="glossa-disk-tidy", daemon=True).start()  # which may be slow
    return disk
