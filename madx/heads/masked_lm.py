"""The masked-LM head: dense, activation, LayerNorm, the inverse of the row's invertible adapter, tied decoder.

It belongs to the backbone and is frozen; a language adapter may carry a trained copy (`head.…`). The decoder's weight
is always the backbone's word embedding, so only its bias is stored.
"""

import torch
import torch.nn.functional as F
from torch import nn

from ..config import BackboneConfig
from ..invertible import Invertible
from ..linear import Linear


class MaskedLMHead(nn.Module):
    """Hidden states at P positions -> scores over the vocabulary of V pieces (MAD-X eq. (4) when inverted)."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self._activation = config.masked_lm_activation

    def transform(self, hidden: torch.Tensor) -> torch.Tensor:
        """(P, D) -> (P, D): what the inverse and then the decoder read."""
        transformed: torch.Tensor = self.norm(self.dense(hidden, self._activation).to(hidden.dtype))
        return transformed

    def forward(
        self, hidden: torch.Tensor, word_embedding: torch.Tensor, invertible: Invertible | None = None
    ) -> torch.Tensor:
        """(P, D) and the tied weight (V, D) -> logits (P, V)."""
        transformed = self.transform(hidden)
        if invertible is not None:
            transformed = invertible.inverse(transformed)
        return F.linear(transformed, word_embedding, self.bias)
