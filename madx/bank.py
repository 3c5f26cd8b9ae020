"""The bank: the adapters that a device can run now; a slot is one adapter's place in it, 0 the identity.

An adapter is staged by any thread, which does all the copying and packing, and then added by the one thread that runs
batches. On a CPU every adapter's weights lie packed as oneDNN reads them; on CUDA they lie in slabs, stacked by shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .adapter import Adapter
from .config import BackboneConfig
from .linear import pack
from .plan import IDENTITY, Slot
from .precision import FLOAT32, Precision
from .slabs import Slabs


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An adapter on the bank's device and in its precision; `size_bytes` is what it takes there."""

    adapter: Adapter
    size_bytes: int


class Bank:
    """Slots for adapters on one device. `stage` is safe in any thread; one thread adds, removes and runs batches."""

    def __init__(
        self,
        backbone: BackboneConfig,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
        stacked: bool | None = None,
    ) -> None:
        """`stacked` says whether bottlenecks lie in slabs; as the device wants it by default."""
        self._backbone = backbone
        self._device = torch.device(device)
        self._precision = precision
        in_slabs = self._device.type == "cuda" if stacked is None else stacked
        self._slabs = Slabs(backbone, device=self._device, dtype=precision.adapters) if in_slabs else None
        self._residents: dict[Slot, Staged] = {}
        self._next = IDENTITY + 1
        self._freed: list[Slot] = []

    def __getitem__(self, slot: Slot) -> Adapter:
        return self._residents[slot].adapter

    def __len__(self) -> int:
        return len(self._residents)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._residents)

    @property
    def slabs(self) -> Slabs | None:
        return self._slabs

    @property
    def size_bytes(self) -> int:
        """Bytes of the adapters that are in, unused capacity aside."""
        return sum(staged.size_bytes for staged in self._residents.values())

    def stage(self, adapter: Adapter) -> Staged:
        """Copy an adapter to the device, ready to be added. The bank owns the copy.

        Raises what the device raises where its memory is full, and `RuntimeError` for an adapter of another shape.
        """
        with torch.device("meta"):
            copy = Adapter(adapter.config, adapter.head_config, self._backbone)
        tensors = {
            name: tensor.to(self._device, self._dtype_of(name), copy=True)
            for name, tensor in adapter.state_dict().items()
        }
        copy.load_state_dict(tensors, assign=True)
        copy.requires_grad_(False).eval()
        size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self._slabs is None:
            pack(copy, self._precision, bottlenecks=True)
        return Staged(adapter=copy, size_bytes=size_bytes)

    def _dtype_of(self, name: str) -> torch.dtype:
        """A head reads and writes what flows through the backbone; everything else of an adapter is a bottleneck."""
        return self._precision.activations if name.startswith("head.") else self._precision.adapters

    def add(self, staged: Staged) -> Slot:
        """Give a staged adapter a slot. What raises takes no place."""
        slot = self._freed[-1] if self._freed else Slot(self._next)
        if self._slabs is not None:
            self._slabs.add(slot, staged.adapter)
        if self._freed:
            self._freed.pop()
        self._next = max(self._next, slot + 1)
        self._residents[slot] = staged
        return slot

    def remove(self, slot: Slot) -> None:
        """Free a slot. The caller sees to it that no batch in flight names it."""
        del self._residents[slot]
        if self._slabs is not None:
            self._slabs.remove(slot)
        self._freed.append(slot)
