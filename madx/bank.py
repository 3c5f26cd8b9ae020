"""The bank: the adapters that a device can run now; a slot is one adapter's number in it, 0 the identity.

An adapter is staged by any thread, which does all the copying, and then added by one, the device's. On a CPU every
adapter's weights lie as oneDNN reads them, or as BLAS does; on CUDA they lie in slabs, stacked by shape. There, copies
to the device go over a stream of their own, so that no batch waits for an adapter of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .adapter import Adapter
from .config import BackboneConfig
from .flat import buffer_of, flatten, views_like
from .grouped import has_grouped_kernel
from .linear import prepack
from .plan import Slot
from .precision import FLOAT32, Precision, prepacks_adapters
from .slabs import Slabs, are_aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An adapter on the bank's device and in its precision; `size_bytes` is what it takes there at the most."""

    adapter: Adapter
    size_bytes: int


class Bank:
    """Slots for adapters on one device. `stage` is safe in any thread; one thread adds and removes.

    Batches run in that thread too; where there are no slabs, which adding may move, they may run in any.
    """

    def __init__(
        self,
        backbone: BackboneConfig,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
        stacked: bool | None = None,
        grouped: bool | None = None,
    ) -> None:
        """`stacked` says whether bottlenecks lie in slabs, `grouped` whether batches run a slab's by one product each.

        Both are as the device wants it by default; on a CPU, grouping computes the same, slower. A backbone of a width
        that grouped products do not take goes without.
        """
        self._backbone = backbone
        self._device = torch.device(device)
        self._precision = precision
        in_slabs = self._device.type == "cuda" if stacked is None else stacked
        self._slabs = Slabs(backbone, device=self._device, dtype=precision.adapters) if in_slabs else None
        groups = has_grouped_kernel(self._device, precision) if grouped is None else grouped
        self._groups = groups and are_aligned(backbone)
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None
        self._residents: dict[Slot, Staged] = {}
        self._freed: list[Slot] = []

    def __getitem__(self, slot: Slot) -> Adapter:
        return self._residents[slot].adapter

    def __len__(self) -> int:
        return len(self._residents)

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def slabs(self) -> Slabs | None:
        return self._slabs

    @property
    def grouped_slabs(self) -> Slabs | None:
        """The slabs, if a batch runs each one's bottlenecks by one product; None if it goes segment by segment."""
        return self._slabs if self._groups else None

    @property
    def size_bytes(self) -> int:
        """Bytes of the adapters that are in, each with its share of a slab's spare places."""
        return sum(staged.size_bytes for staged in self._residents.values())

    def host_copy(self, adapter: Adapter) -> Adapter:
        """The adapter as `stage` reads it at once, to be kept in the host's memory: for CUDA, one page-locked buffer.

        What other devices stage from is the adapter itself.
        """
        return adapter if self._copies is None else self._made(adapter, self._page_locked(adapter.state_dict()))

    def stage(self, adapter: Adapter, *, given: bool = False) -> Staged:
        """Copy an adapter to the device, ready to be added. The bank owns the copy.

        An adapter that is `given` away, so that nobody else changes it, is itself what is added where it lies there as
        it should.

        Raises what the device raises where its memory is full, and `RuntimeError` for an adapter of another shape.
        """
        found = adapter.state_dict()
        tensors = self._copied(found, given=given)
        fits = adapter.backbone_config == self._backbone and all(tensors[name] is found[name] for name in found)
        copy = adapter.requires_grad_(False).eval() if given and fits else self._made(adapter, tensors)
        is_apart = {name: self._slabs is None or name.startswith("head.") for name in tensors}
        size_bytes = sum(tensor.nbytes for name, tensor in tensors.items() if is_apart[name])
        size_bytes += 0 if self._slabs is None else self._slabs.place_bytes(copy)
        if self._slabs is None and prepacks_adapters(self._precision.adapters):
            prepack(copy, self._precision.adapters)
        return Staged(adapter=copy, size_bytes=size_bytes)

    def _made(self, adapter: Adapter, tensors: Mapping[str, torch.Tensor]) -> Adapter:
        """An adapter of the same configuration over `tensors`."""
        with torch.device("meta"):
            made = Adapter(adapter.config, adapter.head_config, self._backbone)
        made.load_state_dict(tensors, assign=True)
        return made.requires_grad_(False).eval()

    def _copied(self, tensors: Mapping[str, torch.Tensor], *, given: bool) -> dict[str, torch.Tensor]:
        """Copies on the device, in its precision, that are there when this returns; of what is given, if need be."""
        if self._copies is None:
            return self._one_by_one(tensors, copy=not given)
        is_there = any(tensor.is_cuda for tensor in tensors.values())
        if is_there:
            self._copies.wait_stream(torch.cuda.current_stream(self._device))  # which may still write them
        with torch.cuda.stream(self._copies):
            copied = self._one_by_one(tensors) if is_there else self._at_once(self._page_locked(tensors))
            done = self._copies.record_event()
        done.synchronize()
        return copied

    def _one_by_one(self, tensors: Mapping[str, torch.Tensor], *, copy: bool = True) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._device, self._dtype_of(name), copy=copy) for name, tensor in tensors.items()}

    def _at_once(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copies of what lies in one buffer, on their way to the device when this returns."""
        buffer = buffer_of(tensors)
        if buffer is None:
            return self._one_by_one(tensors)
        views = views_like(tensors, buffer.to(self._device, non_blocking=True, copy=True))
        # A head stays where it is copied to: it must not keep the bottlenecks' memory, which go on to a slab.
        return {name: view.clone() if name.startswith("head.") else view for name, view in views.items()}

    def _page_locked(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """In one buffer, in the bank's precision: as they are, or copied.

        A copy to the device from pageable memory has the driver stage it, and batches wait for that.
        """
        buffer = buffer_of(tensors)
        is_right = all(tensor.dtype == self._dtype_of(name) for name, tensor in tensors.items())
        if buffer is not None and buffer.is_pinned() and is_right:
            return tensors
        return flatten(tensors, {name: self._dtype_of(name) for name in tensors}, page_locked=True)

    def _dtype_of(self, name: str) -> torch.dtype:
        """A head reads and writes what flows through the backbone; everything else of an adapter is a bottleneck."""
        return self._precision.activations if name.startswith("head.") else self._precision.adapters

    def add(self, staged: Staged) -> Slot:
        """Give a staged adapter a slot. What raises takes no place."""
        if self._copies is not None:
            self._keep_from_copies(staged)
        slot = self._freed[-1] if self._freed else Slot(len(self._residents) + 1)
        if self._slabs is not None:
            self._slabs.add(slot, staged.adapter)
        if self._freed:
            self._freed.pop()
        self._residents[slot] = staged
        return slot

    def _keep_from_copies(self, staged: Staged) -> None:
        """Let the memory of a staged adapter go to another one only after the batches' stream has used it.

        It was taken on the copies' stream, which else could fill it anew while the slab still reads it.
        """
        batches = torch.cuda.current_stream(self._device)
        for tensor in staged.adapter.state_dict().values():
            tensor.record_stream(batches)

    def remove(self, slot: Slot) -> None:
        """Free a slot. The caller sees to it that no batch that has yet to be started names it.

        One that runs on CUDA may: what fills the place next comes after it on the same stream.
        """
        del self._residents[slot]
        self._freed.append(slot)
        if self._slabs is not None:
            self._slabs.remove(slot)
