"""The field's non-linearities by the names that configurations carry."""

from collections.abc import Callable
from functools import partial

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


def _gelu_(x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = torch.ops.aten.gelu_(x)
    return y


def _gelu_tanh_(x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = torch.ops.aten.gelu_(x, approximate="tanh")
    return y


_IN_PLACE: dict[Activation, ActivationFunction] = {
    "relu": torch.relu_,
    "gelu": _gelu_,
    "gelu_new": _gelu_tanh_,
    "silu": partial(F.silu, inplace=True),
    "tanh": torch.tanh_,
}


def activation(name: Activation) -> ActivationFunction:
    """`gelu_new` is the tanh approximation, `gelu` the exact function, as in `transformers`."""
    return _FUNCTIONS[name]


def activation_in_place(name: Activation) -> ActivationFunction:
    """The same, into its argument, of which no gradient is wanted."""
    return _IN_PLACE[name]
