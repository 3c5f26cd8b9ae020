"""AdapterHub's `.bin` files, the only pickles that are read or written here, by torch's restricted unpickler.

They are read on the user's own machine, by `glossa import adapterhub` alone; what leaves this file is plain tensors.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InvalidHubWeights

if TYPE_CHECKING:
    import torch


def read_bin(path: Path) -> "dict[str, torch.Tensor]":
    """Names and tensors, on the CPU. Raises `InvalidHubWeights`, also for what is more than tensors."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:
        # A damaged or hostile file can make the unpickler raise nearly anything.
        raise InvalidHubWeights(
            f"{path.name} cannot be read: it is damaged, or holds more than tensors ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InvalidHubWeights(f"{path.name} holds no map from names to tensors")
    for name, tensor in content.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided or tensor.is_quantized:
            raise InvalidHubWeights(f"{path.name}: {name} is no plain tensor")
    return dict(content)


def bin_bytes(tensors: "dict[str, torch.Tensor]") -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()
