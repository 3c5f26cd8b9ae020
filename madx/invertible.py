"""The invertible adapter: NICE additive coupling on the embeddings (MAD-X section 4.3, eqs. (3) and (4)).

It stands after the whole embedding block; its inverse stands before the tied decoder of the masked-LM head.
"""

import torch
from torch import nn

from .bottleneck import Bottleneck
from .config import InvertibleConfig, bottleneck_size


class Invertible(nn.Module):
    """Splits the last dimension in two halves and couples them additively, so that the inverse is exact."""

    def __init__(self, config: InvertibleConfig, hidden_size: int) -> None:
        super().__init__()
        first = hidden_size // 2
        second = hidden_size - first
        self._split = (first, second)

        def coupling(inputs: int, outputs: int) -> Bottleneck:
            size = bottleneck_size(inputs, config.reduction)
            return Bottleneck(inputs, size, outputs, non_linearity=config.non_linearity)

        self.F = coupling(second, first)
        self.G = coupling(first, second)

    @property
    def is_prepacked(self) -> bool:
        return self.F.is_prepacked

    def forward(self, e: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, D): o1 = e1 + F(e2), o2 = e2 + G(o1)."""
        e1, e2 = e.split(self._split, dim=-1)
        o1 = e1 + self.F(e2)
        o2 = e2 + self.G(o1)
        return torch.cat((o1, o2), dim=-1)

    def inverse(self, o: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, D): e2 = o2 - G(o1), e1 = o1 - F(e2)."""
        o1, o2 = o.split(self._split, dim=-1)
        e2 = o2 - self.G(o1)
        e1 = o1 - self.F(e2)
        return torch.cat((e1, e2), dim=-1)
