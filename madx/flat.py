"""Many tensors as views into one buffer: one allocation, and one copy to a device."""

from collections.abc import Mapping

import torch

_ALIGNED = 16
"""Bytes: each view begins at a multiple, whatever its type."""


def flatten(
    tensors: Mapping[str, torch.Tensor], dtypes: Mapping[str, torch.dtype], *, page_locked: bool
) -> dict[str, torch.Tensor]:
    """Copies in one buffer of the host's memory, each in its own of `dtypes`."""
    starts: dict[str, int] = {}
    size_bytes = 0
    for name, tensor in tensors.items():
        starts[name] = size_bytes
        size_bytes += -(-tensor.numel() * dtypes[name].itemsize // _ALIGNED) * _ALIGNED
    buffer = torch.empty(size_bytes, dtype=torch.uint8, pin_memory=page_locked)
    views = {
        name: buffer[start : start + tensors[name].numel() * dtypes[name].itemsize]
        .view(dtypes[name])
        .view(tensors[name].shape)
        for name, start in starts.items()
    }
    for name, view in views.items():
        view.copy_(tensors[name])
    return views


def buffer_of(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """The buffer (bytes,) uint8 of what `flatten` made. None for tensors that lie apart, or beside others."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors.values()}
    if len(storages) != 1:
        return None
    ((_, storage),) = storages.items()
    used = sum(-(-tensor.numel() * tensor.element_size() // _ALIGNED) * _ALIGNED for tensor in tensors.values())
    if storage.nbytes() != used:
        return None
    device = next(iter(tensors.values())).device
    return torch.empty(0, dtype=torch.uint8, device=device).set_(storage)


def views_like(tensors: Mapping[str, torch.Tensor], buffer: torch.Tensor) -> dict[str, torch.Tensor]:
    """Views into a copy of the tensors' buffer, lying as they do."""
    return {
        name: buffer.view(tensor.dtype).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        for name, tensor in tensors.items()
    }
