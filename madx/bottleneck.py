"""The bottleneck: down, non-linearity, up. Which residual it is added to is the caller's: the stack forms differ."""

import torch
from torch import nn

from .config import Activation
from .linear import Linear, PrepackedLinear

_INITIAL_STD = 0.02


def initialise(linear: nn.Linear) -> None:
    """N(0, 0.02) with a zero bias; nothing on the meta device, where torch would load its reference operators first,
    which takes a second.
    """
    if not linear.weight.is_meta:
        nn.init.normal_(linear.weight, std=_INITIAL_STD)
        nn.init.zeros_(linear.bias)


class Bottleneck(nn.Module):
    """U act(D x), scaled: (T, D_in) -> (T, D_out). MAD-X eq. (1) without its residual.

    Starts at N(0, 0.02) with zero biases, as published adapters did: near the identity, not on it.
    """

    def __init__(
        self, inputs: int, size: int, outputs: int, *, non_linearity: Activation = "relu", scaling: float = 1.0
    ) -> None:
        super().__init__()
        self.down = Linear(inputs, size)
        self.up = Linear(size, outputs)
        self.scaling = scaling
        self._non_linearity = non_linearity
        for linear in (self.down, self.up):
            initialise(linear)

    @property
    def dtype(self) -> torch.dtype:
        """What it multiplies in; its input is cast to that."""
        return self.down.weight.dtype

    @property
    def is_prepacked(self) -> bool:
        return isinstance(self.down, PrepackedLinear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Hundreds of these in a batch: calling a module itself, and not what it computes, takes 3 microseconds.
        y = self.up.forward(self._inner(x))
        return y if self.scaling == 1.0 else y * self.scaling

    def added_to(self, residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """residual + U act(D x), both (T, D): in one step where the residual is of the prepacked layer's type."""
        up = self.up
        if isinstance(up, PrepackedLinear) and self.scaling == 1.0 and residual.dtype == self.dtype:
            return up.added_to(residual, self._inner(x))
        return self.forward(x) + residual

    def _inner(self, x: torch.Tensor) -> torch.Tensor:
        down = self.down
        return down.forward(x.to(down.weight.dtype), self._non_linearity)
