"""The bank: device-resident weights of many adapters, stacked by shape; a slot is one adapter's place in it.

One slab per adapter configuration holds every layer's weights as (capacity, out, in) tensors and never shrinks; an
adapter in the bank is a module whose parameters are views into its slab. Weights are copied once, when an adapter
comes; a batch only names slots. Slot 0 is the identity and has no weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from .adapter import Adapter
from .config import AdapterConfig, BackboneConfig, HeadConfig
from .plan import IDENTITY, Slot
from .shapes import adapter_shapes

_FIRST_CAPACITY = 4


@dataclass(slots=True, kw_only=True)
class _Slab:
    """Stacked bottleneck tensors of adapters that share a configuration: name -> (capacity, *shape)."""

    tensors: dict[str, torch.Tensor]
    capacity: int = 0
    free: list[int] = field(default_factory=list)
    members: dict[int, Slot] = field(default_factory=dict)  # place in the slab -> slot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    adapter: Adapter
    slab: AdapterConfig
    place: int
    size_bytes: int


class Bank:
    """Slots for adapters on one device and in one dtype. One thread changes it and runs batches."""

    def __init__(
        self, backbone: BackboneConfig, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self._backbone = backbone
        self._device = torch.device(device)
        self._dtype = dtype
        self._slabs: dict[AdapterConfig, _Slab] = {}
        self._residents: dict[Slot, _Resident] = {}
        self._next = IDENTITY + 1
        self._freed: list[Slot] = []

    def __getitem__(self, slot: Slot) -> Adapter:
        return self._residents[slot].adapter

    def __len__(self) -> int:
        return len(self._residents)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._residents)

    @property
    def size_bytes(self) -> int:
        """Bytes of the adapters that are in, unused capacity aside."""
        return sum(resident.size_bytes for resident in self._residents.values())

    def place_of(self, slot: Slot) -> tuple[AdapterConfig, int]:
        """The slab and the place in it that hold a slot's bottlenecks."""
        resident = self._residents[slot]
        return resident.slab, resident.place

    def add(self, adapter: Adapter) -> Slot:
        """Copy an adapter's weights in and give its slot. The bank owns the copy; what raises takes no place."""
        slab = self._slabs.get(adapter.config)
        if slab is None:
            slab = self._slabs[adapter.config] = self._new_slab(adapter.config)
        if not slab.free:
            self._grow(slab)
        place = slab.free[-1]
        state = adapter.state_dict()
        for name, stacked in slab.tensors.items():
            stacked[place].copy_(state[name])
        own = {
            name: tensor.to(self._device, self._dtype, copy=True)
            for name, tensor in state.items()
            if name not in slab.tensors
        }
        resident = self._view(adapter.config, adapter.head_config, slab, place, own)
        slab.free.pop()
        slot = self._freed.pop() if self._freed else Slot(self._next)
        self._next = max(self._next, slot + 1)
        slab.members[place] = slot
        self._residents[slot] = _Resident(
            adapter=resident,
            slab=adapter.config,
            place=place,
            size_bytes=sum(p.numel() * p.element_size() for p in resident.parameters()),
        )
        return slot

    def remove(self, slot: Slot) -> None:
        """Free a slot. The caller sees to it that no batch in flight names it."""
        resident = self._residents.pop(slot)
        slab = self._slabs[resident.slab]
        del slab.members[resident.place]
        slab.free.append(resident.place)
        self._freed.append(slot)

    def _new_slab(self, config: AdapterConfig) -> _Slab:
        shapes = adapter_shapes(config, None, self._backbone)
        return _Slab(
            tensors={
                name: torch.empty((0, *shape), device=self._device, dtype=self._dtype)
                for name, shape in shapes.items()
                if name.startswith("layers.")
            }
        )

    def _grow(self, slab: _Slab) -> None:
        """Double a slab. Members' views move to the new tensors; their slots and places stay."""
        capacity = max(_FIRST_CAPACITY, 2 * slab.capacity)
        grown: dict[str, torch.Tensor] = {}
        for name, old in slab.tensors.items():
            grown[name] = old.new_zeros((capacity, *old.shape[1:]))
            grown[name][: slab.capacity].copy_(old)
        # All at once: a device that runs out of memory half-way must leave the slab as it was.
        slab.tensors = grown
        for place, slot in slab.members.items():
            _assign(self._residents[slot].adapter, {name: stack[place] for name, stack in slab.tensors.items()})
        slab.free.extend(range(capacity - 1, slab.capacity - 1, -1))
        slab.capacity = capacity

    def _view(
        self, config: AdapterConfig, head: HeadConfig | None, slab: _Slab, place: int, own: dict[str, torch.Tensor]
    ) -> Adapter:
        with torch.device("meta"):
            adapter = Adapter(config, head, self._backbone)
        _assign(adapter, own | {name: stacked[place] for name, stacked in slab.tensors.items()})
        return adapter.requires_grad_(False).eval()


def _assign(adapter: Adapter, tensors: dict[str, torch.Tensor]) -> None:
    adapter.load_state_dict(tensors, strict=False, assign=True)
