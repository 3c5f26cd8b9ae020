"""Slabs: the bottlenecks of many adapters of one configuration, stacked as (capacity, out, in) tensors on a device.

A slab never shrinks, and its places are reused. The adapters in it are modules whose bottlenecks are views into it, so
weights are copied once, when an adapter comes; a batch only names places.
"""

from dataclasses import dataclass, field

import torch

from .adapter import Adapter
from .config import AdapterConfig, BackboneConfig
from .plan import Slot
from .shapes import adapter_shapes

_FIRST_CAPACITY = 4


@dataclass(slots=True, kw_only=True)
class Slab:
    """Stacked bottleneck tensors of adapters that share a configuration: name -> (capacity, *shape)."""

    tensors: dict[str, torch.Tensor]
    capacity: int = 0
    free: list[int] = field(default_factory=list)
    members: dict[int, Adapter] = field(default_factory=dict)  # place in the slab -> adapter


class Slabs:
    """One slab per adapter configuration. Used by the one thread that runs batches."""

    def __init__(self, backbone: BackboneConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        self._backbone = backbone
        self._device = device
        self._dtype = dtype
        self._slabs: dict[AdapterConfig, Slab] = {}
        self._places: dict[Slot, tuple[AdapterConfig, int]] = {}

    @property
    def capacity_bytes(self) -> int:
        """Bytes that are held, in use or not."""
        return sum(t.numel() * t.element_size() for slab in self._slabs.values() for t in slab.tensors.values())

    def place_of(self, slot: Slot) -> tuple[AdapterConfig, int]:
        """The slab and the place in it that hold a slot's bottlenecks."""
        return self._places[slot]

    def slab_of(self, config: AdapterConfig) -> Slab:
        return self._slabs[config]

    def add(self, slot: Slot, adapter: Adapter) -> None:
        """Copy an adapter's bottlenecks in and make them views. What raises takes no place."""
        slab = self._slabs.get(adapter.config)
        if slab is None:
            slab = self._slabs[adapter.config] = self._new_slab(adapter.config)
        if not slab.free:
            self._grow(slab)
        place = slab.free[-1]
        state = adapter.state_dict()
        for name, stacked in slab.tensors.items():
            stacked[place].copy_(state[name])
        _view(adapter, slab, place)
        slab.free.pop()
        slab.members[place] = adapter
        self._places[slot] = (adapter.config, place)

    def remove(self, slot: Slot) -> None:
        config, place = self._places.pop(slot)
        slab = self._slabs[config]
        del slab.members[place]
        slab.free.append(place)

    def _new_slab(self, config: AdapterConfig) -> Slab:
        shapes = adapter_shapes(config, None, self._backbone)
        return Slab(
            tensors={
                name: torch.empty((0, *shape), device=self._device, dtype=self._dtype)
                for name, shape in shapes.items()
                if name.startswith("layers.")
            }
        )

    def _grow(self, slab: Slab) -> None:
        """Double a slab. Members' views move to the new tensors; their places stay."""
        capacity = max(_FIRST_CAPACITY, 2 * slab.capacity)
        grown: dict[str, torch.Tensor] = {}
        for name, old in slab.tensors.items():
            grown[name] = old.new_zeros((capacity, *old.shape[1:]))
            grown[name][: slab.capacity].copy_(old)
        # All at once: a device that runs out of memory half-way must leave the slab as it was.
        slab.tensors = grown
        for place, adapter in slab.members.items():
            _view(adapter, slab, place)
        slab.free.extend(range(capacity - 1, slab.capacity - 1, -1))
        slab.capacity = capacity


def _view(adapter: Adapter, slab: Slab, place: int) -> None:
    views = {name: stacked[place] for name, stacked in slab.tensors.items()}
    adapter.load_state_dict(views, strict=False, assign=True)
    adapter.requires_grad_(False)
