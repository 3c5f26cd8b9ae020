"""Self-attention over packed rows: how tokens of one row find each other without any padding in a linear layer.

Where the device has a variable-length kernel, that runs; everything else gathers rows of about equal length into
buckets for `scaled_dot_product_attention`. A batch of rows of one length is only viewed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F

HALF_TYPES = (torch.float16, torch.bfloat16)
_BUCKET_TOKENS = 8
"""Rows whose lengths round up to the same multiple of this share a bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """B rows, padded to S tokens, of a packed batch. The last three are None where no row needs padding."""

    rows: int
    longest: int
    gather: torch.Tensor  # (B S,) int64: place in the bucket -> packed token; padding reads the row's first
    key_mask: torch.Tensor | None  # (B, 1, 1, S) bool: True where a token stands
    kept: torch.Tensor | None  # places in the bucket that hold tokens
    scatter: torch.Tensor | None  # their packed tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """Where each of T packed tokens stands: the rows' boundaries, and their buckets.

    `buckets` is empty where all rows have `longest` tokens, and for the variable-length kernel.
    """

    rows: int
    longest: int
    cumulative: torch.Tensor  # (B + 1,) int32
    buckets: tuple[Bucket, ...]


def lay_out(lengths: Sequence[int], device: torch.device, *, bucketed: bool = True) -> RowLayout:
    """Rows of `lengths` tokens, one after the other. Without buckets only the variable-length kernel can attend."""
    bounds = bounds_of(lengths)
    longest = max(lengths)
    buckets: list[Bucket] = []
    if bucketed and min(lengths) < longest:
        members: dict[int, list[int]] = {}
        for row, length in enumerate(lengths):
            members.setdefault(-(-length // _BUCKET_TOKENS), []).append(row)
        buckets = [_bucket([bounds[row] for row in rows], [lengths[row] for row in rows]) for rows in members.values()]
    return RowLayout(
        rows=len(lengths),
        longest=longest,
        cumulative=torch.tensor(bounds, dtype=torch.int32, device=device),
        buckets=tuple(_moved(bucket, device) for bucket in buckets),
    )


def bounds_of(lengths: Sequence[int]) -> list[int]:
    """Of B rows one after the other: where they begin, and where the last one ends."""
    return [0, *accumulate(lengths)]


def _bucket(starts: Sequence[int], lengths: Sequence[int]) -> Bucket:
    longest = max(lengths)
    first = torch.tensor(starts)[:, None]  # (B, 1)
    places = torch.arange(longest)  # (S,)
    if min(lengths) == longest:
        gather = (first + places).flatten()
        return Bucket(rows=len(lengths), longest=longest, gather=gather, key_mask=None, kept=None, scatter=None)
    mask = places < torch.tensor(lengths)[:, None]  # (B, S)
    gather = (first + places * mask).flatten()
    kept = mask.flatten().nonzero().flatten()
    return Bucket(
        rows=len(lengths),
        longest=longest,
        gather=gather,
        key_mask=mask[:, None, None, :],
        kept=kept,
        scatter=gather.index_select(0, kept),
    )


def _moved(bucket: Bucket, device: torch.device) -> Bucket:
    def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else tensor.to(device)

    return Bucket(
        rows=bucket.rows,
        longest=bucket.longest,
        gather=bucket.gather.to(device),
        key_mask=moved(bucket.key_mask),
        kept=moved(bucket.kept),
        scatter=moved(bucket.scatter),
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
    if not layout.buckets:
        return _attend_rows(qkv.view(layout.rows, layout.longest, 3, num_heads, head_size), None, dropout)
    attended = qkv.new_empty(tokens, width // 3)
    for bucket in layout.buckets:
        rows = qkv.index_select(0, bucket.gather).view(bucket.rows, bucket.longest, 3, num_heads, head_size)
        out = _attend_rows(rows, bucket.key_mask, dropout)
        if bucket.kept is None or bucket.scatter is None:
            attended = attended.index_copy_(0, bucket.gather, out)
        else:
            attended = attended.index_copy_(0, bucket.scatter, out.index_select(0, bucket.kept))
    return attended


def _attend_rows(qkv: torch.Tensor, key_mask: torch.Tensor | None, dropout: float) -> torch.Tensor:
    """(B, S, 3, H, D / H) -> (B S, D)."""
    rows, longest, _, num_heads, head_size = qkv.shape
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, S, D / H)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, dropout_p=dropout)
    return out.transpose(1, 2).reshape(rows * longest, num_heads * head_size)


def _attend_varlen(qkv: torch.Tensor, layout: RowLayout) -> torch.Tensor:
    """(T, 3, H, D / H) on CUDA in half precision -> (T, H, D / H), by PyTorch's variable-length kernel."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = qkv.unbind(1)  # the kernel takes any strides but the last
    bounds, longest = layout.cumulative, layout.longest
    attended = varlen_attn(q, k, v, bounds, bounds, longest, longest)
    assert isinstance(attended, torch.Tensor)  # a pair only where the log-sum-exp is asked for
    return attended
