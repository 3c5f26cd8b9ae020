"""Which adapters are on the device: pinned while a batch runs, evicted by bytes, least recently used first.

Owned by the device thread. Reading adapters from the store is `hosted`'s business; here they are at hand already.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

from madx.adapter import Adapter
from madx.bank import Bank
from madx.config import BackboneConfig
from madx.manifest import Digest
from madx.plan import Slot
from madx.shapes import adapter_shapes
from registry.values import Version

from .errors import AdapterLoadFailed
from .metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    """`adapter` is the host's copy: held here, so that a request for a resident adapter reads nothing."""

    slot: Slot
    adapter: Adapter
    size_bytes: int


class Residency:
    """Slots of adapters by manifest digest."""

    def __init__(
        self, bank: Bank, backbone: BackboneConfig, *, budget_bytes: int, item_bytes: int, metrics: Metrics
    ) -> None:
        """`item_bytes` is the size of one value in the bank's dtype."""
        self._bank = bank
        self._backbone = backbone
        self._budget_bytes = budget_bytes
        self._item_bytes = item_bytes
        self._metrics = metrics
        self._residents: OrderedDict[Digest, _Resident] = OrderedDict()
        self._sizes: dict[Digest, int] = {}
        self._pins: dict[Digest, int] = {}

    @property
    def sizes(self) -> Mapping[Digest, int]:
        """Bytes on the device of every version that was measured."""
        return self._sizes

    @property
    def resident_bytes(self) -> int:
        return sum(resident.size_bytes for resident in self._residents.values())

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._residents

    def measure(self, version: Version) -> None:
        """Note how many bytes a version takes on the device."""
        if version.manifest_digest not in self._sizes:
            shapes = adapter_shapes(version.manifest.config, version.manifest.head, self._backbone)
            self._sizes[version.manifest_digest] = sum(map(prod, shapes.values())) * self._item_bytes

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
        self._metrics.resident_adapters.set(len(self._residents))
        self._metrics.resident_bytes.set(self.resident_bytes)
        return self._residents[digest].slot

    def _make_room(self, size_bytes: int) -> None:
        """What is pinned fits beside `size_bytes`: `pinned` has seen to it."""
        for digest in list(self._residents):
            if self.resident_bytes + size_bytes <= self._budget_bytes:
                return
            if digest not in self._pins:
                self._bank.remove(self._residents.pop(digest).slot)
                self._metrics.evictions.inc()
