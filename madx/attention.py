"""Self-attention over packed rows: how tokens of one row find each other without any padding in a linear layer.

Where the device has a variable-length kernel, that runs; everything else pads queries, keys and values for
`scaled_dot_product_attention` alone. Rows of one length need no padding and are only viewed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F

HALF_TYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """Where each of T packed tokens of B rows stands in a (B, S) grid, S being the longest row.

    `grid` and `key_mask` are None where all rows have S tokens. `cumulative` holds B + 1 row boundaries.
    """

    rows: int
    longest: int
    grid: torch.Tensor | None  # (T,) int64: token -> row * S + place
    key_mask: torch.Tensor | None  # (B, 1, 1, S) bool: True where a token stands
    cumulative: torch.Tensor  # (B + 1,) int32


def lay_out(lengths: Sequence[int], device: torch.device) -> RowLayout:
    rows, longest = len(lengths), max(lengths)
    cumulative = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    if min(lengths) == longest:
        return RowLayout(rows=rows, longest=longest, grid=None, key_mask=None, cumulative=cumulative)
    sizes = torch.tensor(lengths)
    mask = torch.arange(longest) < sizes[:, None]  # (B, S)
    grid = mask.flatten().nonzero().flatten().to(device)
    return RowLayout(
        rows=rows, longest=longest, grid=grid, key_mask=mask[:, None, None, :].to(device), cumulative=cumulative
    )


def has_varlen_kernel(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """PyTorch's variable-length kernel wants half precision, compute capability 8.0 and heads in multiples of 8."""
    return (
        device.type == "cuda"
        and dtype in HALF_TYPES
        and head_size % 8 == 0
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def attend(qkv: torch.Tensor, num_heads: int, layout: RowLayout, *, dropout: float = 0.0) -> torch.Tensor:
    """Fused projections (T, 3 D) -> attended values (T, D), each token seeing its own row only."""
    tokens, width = qkv.shape
    head_size = width // 3 // num_heads
    if dropout == 0.0 and has_varlen_kernel(qkv.device, qkv.dtype, head_size):
        return _attend_varlen(qkv.view(tokens, 3, num_heads, head_size), layout).reshape(tokens, width // 3)
    if layout.grid is None:
        padded = qkv
    else:
        padded = qkv.new_zeros(layout.rows * layout.longest, width).index_copy(0, layout.grid, qkv)
    # (B S, 3 D) -> three of (B, H, S, D / H)
    q, k, v = padded.view(layout.rows, layout.longest, 3, num_heads, head_size).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=layout.key_mask, dropout_p=dropout)
    flat = out.transpose(1, 2).reshape(layout.rows * layout.longest, width // 3)
    return flat if layout.grid is None else flat.index_select(0, layout.grid)


def _attend_varlen(qkv: torch.Tensor, layout: RowLayout) -> torch.Tensor:
    """(T, 3, H, D / H) on CUDA in half precision -> (T, H, D / H), by PyTorch's variable-length kernel."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (part.contiguous() for part in qkv.unbind(1))
    bounds, longest = layout.cumulative, layout.longest
    attended = varlen_attn(q, k, v, bounds, bounds, longest, longest)
    assert isinstance(attended, torch.Tensor)  # a pair only where the log-sum-exp is asked for
    return attended
