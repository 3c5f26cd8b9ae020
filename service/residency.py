"""Which adapters are on the device: loaded off the hot path, pinned while a batch runs, evicted by bytes, LRU.

Owned by the device thread; only `_load` runs in the loader threads, which hand their result to `deliver`. Host copies
live as long as a request or the device holds them, so an adapter that many requests want is loaded once.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from weakref import WeakValueDictionary

from madx.adapter import Adapter
from madx.bank import Bank
from madx.config import BackboneConfig
from madx.errors import GlossaError
from madx.manifest import Digest
from madx.plan import Slot
from madx.shapes import adapter_shapes
from registry.values import Version

from .errors import AdapterLoadFailed
from .metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A load that ended, well or not."""

    digest: Digest
    outcome: Adapter | AdapterLoadFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    slot: Slot
    adapter: Adapter
    size_bytes: int


class Residency:
    """Slots of adapters by manifest digest; least recently used first in line for eviction."""

    def __init__(
        self,
        bank: Bank,
        backbone: BackboneConfig,
        *,
        budget_bytes: int,
        item_bytes: int,
        load: Callable[[Version], Adapter],
        loaders: Executor,
        deliver: Callable[[Loaded], None],
        metrics: Metrics,
    ) -> None:
        """`item_bytes` is the size of one value in the bank's dtype."""
        self._bank = bank
        self._backbone = backbone
        self._budget_bytes = budget_bytes
        self._item_bytes = item_bytes
        self._read = load
        self._loaders = loaders
        self._deliver = deliver
        self._metrics = metrics
        self._residents: OrderedDict[Digest, _Resident] = OrderedDict()
        self._on_host: WeakValueDictionary[Digest, Adapter] = WeakValueDictionary()
        self._loading: set[Digest] = set()
        self._sizes: dict[Digest, int] = {}
        self._pins: dict[Digest, int] = {}

    @property
    def sizes(self) -> Mapping[Digest, int]:
        """Bytes on the device of every version that was ever wanted."""
        return self._sizes

    @property
    def resident_bytes(self) -> int:
        return sum(resident.size_bytes for resident in self._residents.values())

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._residents

    def want(self, version: Version) -> Adapter | None:
        """The adapter if it is at hand; else None, and its load has begun: `deliver` gets the outcome."""
        digest = version.manifest_digest
        manifest = version.manifest
        if digest not in self._sizes:
            shapes = adapter_shapes(manifest.config, manifest.head, self._backbone)
            self._sizes[digest] = sum(map(prod, shapes.values())) * self._item_bytes
        adapter = self._on_host.get(digest)
        found = "loading" if digest in self._loading else "store"
        if adapter is not None:
            found = "device" if digest in self._residents else "host"
        self._metrics.lookups.labels(found=found).inc()
        if found == "store":
            self._loading.add(digest)
            self._loaders.submit(self._load, version)
        return adapter

    def arrived(self, loaded: Loaded) -> None:
        """Note that a load ended."""
        self._loading.discard(loaded.digest)
        if isinstance(loaded.outcome, Adapter):
            self._on_host[loaded.digest] = loaded.outcome

    @contextmanager
    def pinned(self, adapters: Mapping[Digest, Adapter]) -> Iterator[dict[Digest, Slot]]:
        """Slots of `adapters`, all on the device until the block ends. Raises `AdapterLoadFailed` if they cannot be."""
        if sum(self._sizes[digest] for digest in adapters) > self._budget_bytes:
            raise AdapterLoadFailed(
                f"the stack needs more than the {self._budget_bytes} bytes that this server has for adapters; "
                "raise GLOSSA_ADAPTER_BYTES"
            )
        for digest in adapters:
            self._pins[digest] = self._pins.get(digest, 0) + 1
        try:
            yield {digest: self._placed(digest, adapter) for digest, adapter in adapters.items()}
        finally:
            for digest in adapters:
                self._pins[digest] -= 1
                if not self._pins[digest]:
                    del self._pins[digest]

    def _placed(self, digest: Digest, adapter: Adapter) -> Slot:
        if digest not in self._residents:
            self._make_room(self._sizes[digest])
            slot = self._bank.add(adapter)
            self._residents[digest] = _Resident(slot=slot, adapter=adapter, size_bytes=self._sizes[digest])
        self._residents.move_to_end(digest)
        self._observe()
        return self._residents[digest].slot

    def _make_room(self, size_bytes: int) -> None:
        for digest in list(self._residents):
            if self.resident_bytes + size_bytes <= self._budget_bytes:
                return
            if digest not in self._pins:
                self._bank.remove(self._residents.pop(digest).slot)
                self._metrics.evictions.inc()

    def _observe(self) -> None:
        self._metrics.resident_adapters.set(len(self._residents))
        self._metrics.resident_bytes.set(self.resident_bytes)

    def _load(self, version: Version) -> None:
        """In a loader thread. Whatever goes wrong is an outcome: nobody may wait for ever."""
        started_s = time.monotonic()
        outcome: Adapter | AdapterLoadFailed
        try:
            outcome = self._read(version)
        except Exception as error:  # noqa: BLE001 - a loader's failure of any kind must reach those who wait
            reason = str(error) if isinstance(error, GlossaError) else type(error).__name__
            outcome = AdapterLoadFailed(f"{version.reference} cannot be loaded: {reason}")
        self._metrics.load_seconds.observe(time.monotonic() - started_s)
        self._metrics.loads.labels(result="ok" if isinstance(outcome, Adapter) else "failed").inc()
        self._deliver(Loaded(digest=version.manifest_digest, outcome=outcome))
