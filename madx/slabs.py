"""Slabs: the bottlenecks of many adapters of one configuration, stacked as (capacity, out, in) tensors on a device.

A slab never shrinks, and its places are reused. The adapters in it are modules whose bottlenecks are views into it, so
weights are copied once, when an adapter comes; a batch only names places. A slot's number says where its bottlenecks
lie: sorted by slot, the rows of a batch are sorted by slab and place too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from .adapter import Adapter
from .config import Activation, AdapterConfig, BackboneConfig
from .plan import IDENTITY, Slot
from .shapes import adapter_shapes

PLACES = 1023
"""In one slab at most. A grouped product takes fewer than 1,024 groups; what comes after gets a slab of its own."""

_FIRST_CAPACITY = 4
_ALIGNED = 8
"""Halves in 16 bytes: rows of a grouped product's operands begin at multiples of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackedBottleneck:
    """One bottleneck of all C places of a slab: views, the weights lying as a product of (T, in) rows reads them."""

    down: torch.Tensor  # (C, in, R)
    down_bias: torch.Tensor  # (C, R)
    up: torch.Tensor  # (C, R, out)
    up_bias: torch.Tensor  # (C, out)
    non_linearity: Activation
    scaling: float


@dataclass(slots=True, kw_only=True, eq=False)
class Slab:
    """Stacked tensors of adapters that share a configuration: name -> (capacity, *shape).

    `bottlenecks` goes by what their tensors' names begin with: `layers.0.output`, `invertible.F`.
    """

    config: AdapterConfig
    number: int
    tensors: dict[str, torch.Tensor]
    bottlenecks: dict[str, StackedBottleneck] = field(default_factory=dict)
    capacity: int = 0
    free: list[int] = field(default_factory=list)
    members: dict[int, Adapter] = field(default_factory=dict)  # place in the slab -> adapter

    @property
    def is_aligned(self) -> bool:
        """Whether a grouped product takes its weights as they lie."""
        weights = (tensor for name, tensor in self.tensors.items() if name.endswith(".weight"))
        return all(width % _ALIGNED == 0 for weight in weights for width in weight.shape[1:])


class Slabs:
    """At least one slab per adapter configuration. Used by the one thread that runs batches."""

    def __init__(self, backbone: BackboneConfig, *, device: torch.device, dtype: torch.dtype) -> None:
        self._backbone = backbone
        self._device = device
        self._dtype = dtype
        self._slabs: list[Slab] = []

    def __iter__(self) -> Iterator[Slab]:
        return iter(self._slabs)

    @property
    def capacity_bytes(self) -> int:
        """Bytes that are held, in use or not."""
        return sum(t.numel() * t.element_size() for slab in self._slabs for t in slab.tensors.values())

    def place_of(self, slot: Slot) -> tuple[Slab, int]:
        """The slab and the place in it that hold a slot's bottlenecks. The identity has none."""
        assert slot != IDENTITY
        number, place = divmod(slot - 1, PLACES)
        return self._slabs[number], place

    def add(self, adapter: Adapter) -> Slot:
        """Copy an adapter's bottlenecks in and make them views. What raises takes no place."""
        slab = self._roomy(adapter.config)
        if not slab.free:
            self._grow(slab)
        place = slab.free[-1]
        state = adapter.state_dict()
        for name, stacked in slab.tensors.items():
            stacked[place].copy_(state[name])
        _view(adapter, slab, place)
        slab.free.pop()
        slab.members[place] = adapter
        return Slot(1 + slab.number * PLACES + place)

    def remove(self, slot: Slot) -> None:
        slab, place = self.place_of(slot)
        del slab.members[place]
        slab.free.append(place)

    def _roomy(self, config: AdapterConfig) -> Slab:
        """The first slab of the configuration that has room or may grow."""
        for slab in self._slabs:
            if slab.config == config and len(slab.members) < PLACES:
                return slab
        shapes = adapter_shapes(config, None, self._backbone)
        tensors = {
            name: torch.empty((0, *shape), device=self._device, dtype=self._dtype) for name, shape in shapes.items()
        }
        self._slabs.append(Slab(config=config, number=len(self._slabs), tensors=tensors))
        return self._slabs[-1]

    def _grow(self, slab: Slab) -> None:
        """Double a slab. Members' views move to the new tensors; their places stay."""
        capacity = min(PLACES, max(_FIRST_CAPACITY, 2 * slab.capacity))
        grown: dict[str, torch.Tensor] = {}
        for name, old in slab.tensors.items():
            grown[name] = old.new_zeros((capacity, *old.shape[1:]))
            grown[name][: slab.capacity].copy_(old)
        # All at once: a device that runs out of memory half-way must leave the slab as it was.
        slab.tensors = grown
        slab.bottlenecks = dict(_bottlenecks(slab.config, grown))
        for place, adapter in slab.members.items():
            _view(adapter, slab, place)
        slab.free.extend(range(capacity - 1, slab.capacity - 1, -1))
        slab.capacity = capacity


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


def _view(adapter: Adapter, slab: Slab, place: int) -> None:
    views = {name: stacked[place] for name, stacked in slab.tensors.items()}
    adapter.load_state_dict(views, strict=False, assign=True)
    adapter.requires_grad_(False)
