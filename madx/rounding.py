"""A forward through one of few numbers of tokens: what a server on a CPU calls in place of `forward.infer`."""

from collections.abc import Sequence

import torch

from .backbone import Backbone
from .forward import Row, hidden_states, infer
from .linear import round_tokens
from .plan import BARE, Plan, RowStack
from .stack import Adapters


def infer_rounded(backbone: Backbone, adapters: Adapters, rows: Sequence[Row]) -> list[torch.Tensor]:
    """As `forward.infer`, through as many tokens as `linear.round_tokens` says."""
    return infer(backbone, adapters, rows, encode=_rounded_hidden_states)


def _rounded_hidden_states(
    backbone: Backbone, adapters: Adapters, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]
) -> tuple[torch.Tensor, Plan]:
    """With rows of padding after the given ones, which nobody reads."""
    tokens = sum(len(row) for row in rows)
    longest = backbone.config.max_tokens
    whole, rest = divmod(round_tokens(tokens) - tokens, longest)
    padding = [[backbone.config.pad_token_id] * length for length in (*[longest] * whole, rest) if length]
    return hidden_states(backbone, adapters, [*rows, *padding], [*stacks, *[BARE] * len(padding)])
