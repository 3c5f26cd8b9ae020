"""The field's non-linearities by the names that configurations carry."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .config import Activation

ActivationFunction = Callable[[torch.Tensor], torch.Tensor]


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return F.gelu(x, approximate="tanh")


_FUNCTIONS: dict[Activation, ActivationFunction] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "silu": F.silu,
    "tanh": torch.tanh,
}


def activation(name: Activation) -> ActivationFunction:
    """`gelu_new` is the tanh approximation, `gelu` the exact function, as in `transformers`."""
    return _FUNCTIONS[name]
