"""From disk or store to the device, without an engine: what hangs holds up nothing else, and an end ends everything."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from madx.adapter import Adapter
from madx.bank import Bank, Staged
from madx.checkpoint import from_safetensors
from madx.manifest import Digest
from registry.values import Version
from service.errors import AdapterLoadFailed
from service.metrics import Metrics
from service.residency.device import DeviceMemory
from service.residency.disk import DiskCache
from service.residency.fetching import Came
from service.residency.host import HostMemory
from service.residency.loading import Loading
from service.residency.reading import StoreReader, Weights
from tests.support.served import PATIENCE_S, Home


@dataclass(kw_only=True)
class Store:
    """The real one; those in `hanging` wait for `gate`."""

    home: Home
    hanging: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def __call__(self, version: Version, came: Came) -> Weights:
        self.asked.append(version.reference)
        if version.reference in self.hanging:
            assert self.gate.wait(PATIENCE_S)
        with self.home.registry() as registry:
            return StoreReader(registry, None)(version, came)


@dataclass(kw_only=True)
class Tiers:
    store: Store
    device: DeviceMemory[Staged]
    loading: Loading[Staged]
    metrics: Metrics
    home: Home
    slow_to_decode: set[str]  # until the store's gate opens

    def want(self, name: str) -> str:
        """Waits for it; what it came as, or what was said instead."""
        try:
            return self.loading.want(self.home.version(name)).result(PATIENCE_S).digest
        except AdapterLoadFailed as error:
            return str(error)

    def loads(self, source: str) -> float | None:
        return self.metrics.value("glossa_adapter_loads_total", result="ok", source=source)


Make = Callable[..., Tiers]


@pytest.fixture
def make(home: Home) -> Iterator[Make]:
    made: list[Tiers] = []

    def tiers(
        *,
        disk: DiskCache | None = None,
        host_bytes: int = 0,
        device_bytes: int = 1 << 30,
        clock: Callable[[], float] = time.monotonic,
        **fields: Any,
    ) -> Tiers:
        metrics, store, bank = Metrics(), Store(home=home), Bank(home.loaded.config)
        device: DeviceMemory[Staged] = DeviceMemory(bank, limit_bytes=device_bytes, metrics=metrics, clock=clock)
        slow: set[str] = set()

        def decode(version: Version, content: bytes) -> Adapter:
            assert version.reference not in slow or store.gate.wait(PATIENCE_S)
            return from_safetensors(content, version.manifest, home.loaded.config)

        loading = Loading(
            device=device,
            host=HostMemory(limit_bytes=host_bytes, host_copy=bank.host_copy, metrics=metrics),
            read=store,
            read_cached=None if disk is None else lambda version: disk.read(version.weights_digest),
            decode=decode,
            stage=bank.stage,
            metrics=metrics,
            **({"threads": 2, "fetches": 1, "timeout_s": PATIENCE_S} | fields),
        )
        made.append(Tiers(store=store, device=device, loading=loading, metrics=metrics, home=home, slow_to_decode=slow))
        return made[-1]

    yield tiers
    for one in made:
        one.store.gate.set()
        one.loading.close()


def test_a_store_that_hangs_holds_up_nothing_that_lies_on_disk(make: Make, home: Home, tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, limit_bytes=1 << 20, metrics=Metrics())
    with home.registry() as registry:
        StoreReader(registry, disk)(home.version("en"), lambda: None)
    tiers = make(disk=disk)
    tiers.store.hanging = {"sw@1", "ner@1"}
    stuck = [tiers.loading.want(home.version(name)) for name in ("sw", "ner")]
    assert tiers.want("en") == home.version("en").manifest_digest
    assert not any(future.done() for future in stuck)
    assert "en@1" not in tiers.store.asked
    assert tiers.loads("disk") == 1


def test_a_disk_that_hangs_costs_a_fetch(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("service.residency.loading.CACHED_WITHIN_S", 0.2)
    hangs = threading.Event()

    class Hanging(DiskCache):
        def read(self, digest: Digest) -> bytes | None:
            hangs.wait(PATIENCE_S)
            return None

    tiers = make(disk=Hanging(tmp_path, limit_bytes=1 << 20, metrics=Metrics()))
    try:
        assert tiers.want("en") == tiers.home.version("en").manifest_digest
        assert tiers.loads("store") == 1
    finally:
        hangs.set()


def test_what_was_never_tried_is_not_remembered_as_failed(make: Make) -> None:
    """The only place belongs to weights that a busy loader has not unpacked yet."""
    tiers = make(timeout_s=0.5, threads=1)
    tiers.slow_to_decode.add("sw@1")
    unpacked_late = tiers.loading.want(tiers.home.version("sw"))
    assert "too many others" in tiers.want("en")
    assert tiers.store.asked == ["sw@1"]
    assert len(tiers.loading.failed) == 0
    tiers.store.gate.set()
    assert unpacked_late.result(PATIENCE_S).digest in tiers.device
    assert tiers.want("en") == tiers.home.version("en").manifest_digest


def test_an_end_refuses_what_waits_for_room_and_for_a_loader(make: Make) -> None:
    """The device hangs in a batch, and all that is there belongs to it."""
    tiers = make(threads=1, fetches=2, device_bytes=12_000, clock=lambda: 0.0)
    lease = tiers.loading.want(tiers.home.version("en")).result(PATIENCE_S)
    assert tiers.device.limit_bytes < 2 * tiers.device.used_bytes
    with tiers.device.slots_of({lease.digest: lease}):
        waiting = [tiers.loading.want(tiers.home.version(name)) for name in ("sw", "ner")]
        assert not waiting[0].done()
        tiers.loading.close()
        for future in waiting:
            with pytest.raises(AdapterLoadFailed, match="shutting down"):
                future.result(PATIENCE_S)
    assert (len(tiers.loading), len(tiers.loading.failed)) == (0, 0)


def test_the_host_keeps_what_left_the_device(make: Make) -> None:
    tiers = make(host_bytes=1 << 20, device_bytes=12_000)
    for name in ("en", "sw", "en"):
        assert tiers.want(name) == tiers.home.version(name).manifest_digest
    assert tiers.store.asked == ["en@1", "sw@1"]
    assert tiers.loads("host") == 1
