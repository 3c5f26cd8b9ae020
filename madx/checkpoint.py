"""Adapter <-> safetensors bytes and manifest. No folders and no network: the caller moves the bytes.

Format: docs/checkpoint-format.md. What is read is checked against the manifest before a tensor reaches a module.
"""

from dataclasses import replace

import safetensors
import safetensors.torch
import torch

from .adapter import Adapter
from .config import BackboneConfig
from .errors import InvalidWeights
from .manifest import Manifest, WeightsRef, digest_of
from .shapes import adapter_shapes

STORED_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def to_safetensors(adapter: Adapter, *, dtype: torch.dtype = torch.float32) -> bytes:
    """An adapter's tensors under their stored names."""
    tensors = {name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in adapter.state_dict().items()}
    return safetensors.torch.save(tensors)


def with_weights(manifest: Manifest, weights: bytes) -> Manifest:
    """The manifest, naming these weights by digest and size."""
    return replace(manifest, weights=WeightsRef(digest=digest_of(weights), size_bytes=len(weights)))


def from_safetensors(weights: bytes, manifest: Manifest, backbone: BackboneConfig) -> Adapter:
    """Build the adapter a manifest describes. Raises `InvalidWeights` naming the first thing that does not fit."""
    found = digest_of(weights)
    if found != manifest.weights.digest:
        raise InvalidWeights(f"the weights' sha256 is {found}, the manifest names {manifest.weights.digest}")
    return from_named_weights(weights, manifest, backbone)


def from_named_weights(weights: bytes, manifest: Manifest, backbone: BackboneConfig) -> Adapter:
    """`from_safetensors` of weights whose digest the caller has found to be the one that the manifest names."""
    try:
        tensors = safetensors.torch.load(weights)
    except safetensors.SafetensorError as error:
        raise InvalidWeights(f"not a readable safetensors file: {error}") from error
    check_tensors(tensors, adapter_shapes(manifest.config, manifest.head, backbone))
    with torch.device("meta"):
        adapter = Adapter(manifest.config, manifest.head, backbone)
    adapter.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return adapter.requires_grad_(False).eval()


def check_tensors(tensors: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    """Exact names and shapes, floating point, finite. Raises `InvalidWeights`."""
    missing = sorted(shapes.keys() - tensors.keys())
    foreign = sorted(tensors.keys() - shapes.keys())
    if missing or foreign:
        first = f"{missing[0]} is missing" if missing else f"{foreign[0]} does not belong"
        raise InvalidWeights(f"the tensors are not this configuration's: {first}")
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != shapes[name]:
            raise InvalidWeights(f"{name} has shape {tuple(tensor.shape)}, expected {shapes[name]}")
        if tensor.dtype not in STORED_DTYPES:
            raise InvalidWeights(f"{name} is {tensor.dtype}; float32, float16 and bfloat16 are stored")
        if not _is_finite(tensor):
            raise InvalidWeights(f"{name} holds values that are not finite")


def _is_finite(tensor: torch.Tensor) -> bool:
    """Both bounds are, if all are: a twentieth of the time of asking each number."""
    if not tensor.numel():
        return True
    least, most = torch.aminmax(tensor)
    return bool(least.isfinite() and most.isfinite())
