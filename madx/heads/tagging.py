"""The tagging head: one label's logit per class for each token."""

from itertools import pairwise

import torch
from torch import nn

from ..activations import activation
from ..bottleneck import initialise
from ..config import HeadConfig


class TaggingHead(nn.Module):
    """Dropout, linear, and for two layers an activation, dropout and a second linear: (P, D) -> (P, labels).

    The layout of AdapterHub's tagging head, whose published weights have one layer.
    """

    def __init__(self, config: HeadConfig, hidden_size: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [hidden_size] * config.layers + [len(config.labels)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self._activation = activation(config.activation)
        for linear in self.layers:
            assert isinstance(linear, nn.Linear)
            initialise(linear)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for index, linear in enumerate(self.layers):
            hidden = linear(self.dropout(self._activation(hidden) if index else hidden))
        return hidden
