"""Slabs: the bottlenecks of many adapters of one configuration, stacked as (capacity, out, in) tensors on a device.

The adapters in a slab are modules whose bottlenecks are views into it, so weights are copied once, when an adapter
comes; a batch only names places. A batch's rows are sorted by slab and place (`Slabs.rank`).

A slab takes memory for up to half as many adapters again as are in it. What leaves gives its place to the next of its
configuration, and places that are too many are given back before any slab takes more memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import nn

from .adapter import Adapter
from .config import Activation, AdapterConfig, BackboneConfig
from .plan import IDENTITY, Slot
from .shapes import Shape, adapter_shapes

PLACES = 1023
"""In one slab at most. A grouped product takes fewer than 1,024 groups; what comes after gets a slab of its own."""

_ALIGNED = 8
"""Halves in 16 bytes: rows of a grouped product's operands begin at multiples of it."""


def are_aligned(backbone: BackboneConfig) -> bool:
    """Whether a grouped product takes a backbone's slabs as they lie. An invertible adapter has half its width."""
    return backbone.hidden_size % (2 * _ALIGNED) == 0


def _most_places(members: int) -> int:
    """What a slab may hold memory for. No fewer than there are members, no more than `place_bytes` counts."""
    return min(PLACES, members + members // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedBottleneck:
    """One bottleneck of all C places of a slab: views, the weights lying as a product of (T, in) rows reads them.

    R is the bottleneck's size rounded up to what a grouped product takes; what lies beyond the size is zero.
    """

    down: torch.Tensor  # (C, in, R)
    down_bias: torch.Tensor  # (C, R)
    up: torch.Tensor  # (C, R, out)
    up_bias: torch.Tensor  # (C, out)
    non_linearity: Activation
    scaling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    slot: Slot
    adapter: Adapter


@dataclass(slots=True, kw_only=True, eq=False)
class Slab:
    """Stacked tensors of adapters that share a configuration: name -> (capacity, *shape).

    `bottlenecks` goes by what their tensors' names begin with: `layers.0.output`, `invertible.F`. `generation` is
    another whenever the tensors have moved, and never that of another slab.
    """

    config: AdapterConfig
    number: int
    generation: int
    shapes: dict[str, Shape]  # of one adapter's tensors
    tensors: dict[str, torch.Tensor]
    bottlenecks: dict[str, StackedBottleneck] = field(default_factory=dict)
    capacity: int = 0
    members: dict[int, _Member] = field(default_factory=dict)  # by place

    @property
    def size_bytes(self) -> int:
        """Bytes that are held, in use or not."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def first_free(self) -> int | None:
        """The first place without a member, so that members lie together."""
        return next((place for place in range(self.capacity) if place not in self.members), None)


class Slabs:
    """At least one slab per adapter configuration that is in. Used by the one thread that runs batches."""

    def __init__(self, backbone: BackboneConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        self._backbone = backbone
        self._device = device
        self._dtype = dtype
        self._slabs: list[Slab] = []
        self._places: dict[Slot, tuple[Slab, int]] = {}
        self._generations = count()
        self.generation = next(self._generations)

    def __iter__(self) -> Iterator[Slab]:
        return iter(self._slabs)

    @property
    def capacity_bytes(self) -> int:
        """Bytes that are held, in use or not."""
        return sum(slab.size_bytes for slab in self._slabs)

    def place_bytes(self, adapter: Adapter) -> int:
        """What a limit has to count for an adapter's bottlenecks: its place, and its share of those that are spare.

        As long as this sum of all members does not grow, no slab takes memory beyond it. Safe in any thread.
        """
        shapes = _stored_shapes(adapter_shapes(adapter.config, None, self._backbone))
        values = sum(torch.Size(shape).numel() for shape in shapes.values())
        return -(-3 * values * self._dtype.itemsize // 2)

    def place_of(self, slot: Slot) -> tuple[Slab, int]:
        """The slab and the place in it that hold a slot's bottlenecks, until the next `add`. The identity has none."""
        return self._places[slot]

    def rank(self, slot: Slot) -> int:
        """Sorts slots by slab and place, the identity first. Until the next `add`."""
        if slot == IDENTITY:
            return 0
        slab, place = self._places[slot]
        return 1 + slab.number * PLACES + place

    def add(self, slot: Slot, adapter: Adapter) -> None:
        """Copy an adapter's bottlenecks in and make them views. What raises takes no place."""
        slab = self._roomy(adapter.config)
        place = slab.first_free()
        if place is None:
            place = len(slab.members)
            self._make_room(slab)
        state = adapter.state_dict()
        for name, stacked in slab.tensors.items():
            _cut(stacked[place], slab.shapes[name]).copy_(state[name])
        _view(adapter, slab, place, slab.tensors)
        slab.members[place] = _Member(slot=slot, adapter=adapter)
        self._places[slot] = slab, place

    def remove(self, slot: Slot) -> None:
        slab, place = self._places.pop(slot)
        del slab.members[place]

    def _roomy(self, config: AdapterConfig) -> Slab:
        """The first slab of the configuration that has room or may grow, else a new one, in place of an empty one."""
        for slab in self._slabs:
            if slab.config == config and len(slab.members) < PLACES:
                return slab
        number = next((slab.number for slab in self._slabs if not slab.members), len(self._slabs))
        slab = self._new(config, number)
        self._slabs[number : number + 1] = [slab]
        return slab

    def _new(self, config: AdapterConfig, number: int) -> Slab:
        shapes = adapter_shapes(config, None, self._backbone)
        tensors = {
            name: torch.empty((0, *shape), device=self._device, dtype=self._dtype)
            for name, shape in _stored_shapes(shapes).items()
        }
        self.generation = next(self._generations)
        return Slab(config=config, number=number, generation=self.generation, shapes=shapes, tensors=tensors)

    def _make_room(self, full: Slab) -> None:
        """Let a full slab grow, after the others have given back what they have too much of."""
        for slab in self._slabs:
            if slab is not full and slab.capacity > _most_places(len(slab.members)):
                self._close_up(slab)
                self._resize(slab, _most_places(len(slab.members)))
        self._resize(full, _most_places(len(full.members) + 1))

    def _close_up(self, slab: Slab) -> None:
        """Move members from the last places to free ones before."""
        for place in sorted(slab.members)[::-1]:
            free = slab.first_free()
            if free is None or free > place:
                return
            for stacked in slab.tensors.values():
                stacked[free].copy_(stacked[place])
            member = slab.members[free] = slab.members.pop(place)
            self._places[member.slot] = slab, free
            _view(member.adapter, slab, free, slab.tensors)

    def _resize(self, slab: Slab, capacity: int) -> None:
        """Take a slab's tensors, one by one, to others of `capacity`: only one of them is held twice at a time.

        A device that runs out of memory half-way leaves a slab that has moved in part and holds what it held.
        """
        kept = min(slab.capacity, capacity)
        slab.capacity = kept
        slab.generation = self.generation = next(self._generations)
        slab.bottlenecks = {}
        try:
            for name in slab.tensors:
                stacked = slab.tensors[name].new_zeros((capacity, *slab.tensors[name].shape[1:]))
                stacked[:kept].copy_(slab.tensors[name][:kept])
                slab.tensors[name] = stacked
                for place, member in slab.members.items():
                    _view(member.adapter, slab, place, {name: stacked})
            slab.capacity = capacity
        finally:
            tensors = {name: stacked[: slab.capacity] for name, stacked in slab.tensors.items()}
            slab.bottlenecks = dict(_bottlenecks(slab.config, tensors))


def _stored_shapes(shapes: dict[str, Shape]) -> dict[str, Shape]:
    """With bottlenecks' sizes rounded up."""

    stored = dict(shapes)
    for name, shape in shapes.items():
        if ".down." in name:
            stored[name] = (_rounded(shape[0]), *shape[1:])
        elif name.endswith(".up.weight"):
            stored[name] = (shape[0], _rounded(shape[1]))
    return stored


def _rounded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _cut(stored: torch.Tensor, shape: Shape) -> torch.Tensor:
    """What of a place an adapter's tensor of `shape` fills."""
    return stored[tuple(slice(size) for size in shape)]


def _bottlenecks(config: AdapterConfig, tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, StackedBottleneck]]:
    for name in [name.removesuffix(".down.weight") for name in tensors if name.endswith(".down.weight")]:
        invertible = config.invertible if name.startswith("invertible.") else None
        yield (
            name,
            StackedBottleneck(
                down=tensors[f"{name}.down.weight"].transpose(1, 2),
                down_bias=tensors[f"{name}.down.bias"],
                up=tensors[f"{name}.up.weight"].transpose(1, 2),
                up_bias=tensors[f"{name}.up.bias"],
                non_linearity=config.non_linearity if invertible is None else invertible.non_linearity,
                scaling=config.scaling if invertible is None else 1.0,
            ),
        )


def _view(adapter: Adapter, slab: Slab, place: int, tensors: dict[str, torch.Tensor]) -> None:
    """Make an adapter's parameters of the tensors' names views into its place."""
    for name, stacked in tensors.items():
        owner, _, own_name = name.rpartition(".")
        view = nn.Parameter(_cut(stacked[place], slab.shapes[name]), requires_grad=False)
        setattr(adapter.get_submodule(owner), own_name, view)
