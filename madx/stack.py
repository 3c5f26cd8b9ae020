"""What adapters do to one sub-layer's output: the arithmetic of a stack, segment by segment.

With `a` the Transformer residual, `f` the sub-layer's output before Add&LN and `norm` the sub-layer's own pretrained
LayerNorm (docs/architecture.md gives the equations and their sources):

    LA  = U_L act(D_L norm(f + a)) + f                 MAD-X eq. (1)
    TA  = U_T act(D_T norm(LA + a)) + LA               form "adapterhub"
    TA  = U_T act(D_T LA) + f                          form "paper", MAD-X eq. (2)
    out = norm(TA + a)

Where no language adapter acts, LA is f and both forms run U_T act(D_T norm(f + a)) + f. LA and TA themselves are
wanted by few: what is computed is f + a, LA + a and TA + a, each by adding a bottleneck's output to the one before.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from .adapter import Adapter
from .bottleneck import Bottleneck
from .config import Site
from .linear import round_tokens
from .plan import IDENTITY, Plan, Segment, Slot


class Adapters(Protocol):
    """Slot -> adapter: the bank when serving, a small dictionary when training."""

    def __getitem__(self, slot: Slot, /) -> Adapter: ...


Acting = tuple[Segment, Adapter, Bottleneck]


def _acting(segments: Sequence[Segment], adapters: Adapters, layer: int, site: Site) -> list[Acting]:
    """The segments whose adapter has a bottleneck here and does not leave the layer out."""
    acting: list[Acting] = []
    for segment in segments:
        if segment.slot == IDENTITY or layer in segment.leave_out:
            continue
        adapter = adapters[segment.slot]
        bottleneck = adapter.at(layer, site)
        if bottleneck is not None:
            acting.append((segment, adapter, bottleneck))
    return acting


def _replaced(base: torch.Tensor, pieces: Sequence[tuple[Segment, torch.Tensor]]) -> torch.Tensor:
    """`base` (T, D) with some segments' rows replaced; differentiable, and no copy where none or one covers all."""
    if not pieces:
        return base
    if len(pieces) == 1 and pieces[0][1].shape[0] == base.shape[0]:
        return pieces[0][1]
    parts: list[torch.Tensor] = []
    done = 0
    for segment, piece in pieces:
        if segment.start > done:
            parts.append(base[done : segment.start])
        parts.append(piece)
        done = segment.stop
    if done < base.shape[0]:
        parts.append(base[done:])
    return torch.cat(parts)


def adapt(
    f: torch.Tensor,
    a: torch.Tensor,
    norm: nn.Module,
    *,
    plan: Plan,
    adapters: Adapters,
    layer: int,
    site: Site,
) -> torch.Tensor:
    """Sub-layer output `f` and residual `a`, both (T, D) -> the sub-layer's final output (T, D)."""
    language = _acting(plan.language, adapters, layer, site)
    task = _acting(plan.task, adapters, layer, site)
    f_a = f + a
    h: torch.Tensor = norm(f_a)
    if not language and not task:
        return h
    la_a = _replaced(f_a, [(s, _added(b, f_a, _input(ad, h, f), s)) for s, ad, b in language])
    la = f
    if any(_reads_raw(adapter) for _, adapter, _ in task):  # not la_a - a, nor la + a above: a row is as it is alone
        la = _replaced(f, [(s, _added(b, f, _input(ad, h, f), s)) for s, ad, b in language])
    h_la: torch.Tensor = norm(la_a) if language else h
    if not task:
        return h_la
    paper_input = h
    if any(adapter.config.form == "paper" for _, adapter, _ in task):
        paper_input = _replaced(h, [(s, la[s.start : s.stop]) for s, _, _ in language])
    pieces: list[tuple[Segment, torch.Tensor]] = []
    for segment, adapter, bottleneck in task:
        if adapter.config.form == "paper":
            pieces.append((segment, _added(bottleneck, f_a, paper_input, segment)))
        else:
            pieces.append((segment, _added(bottleneck, la_a, _input(adapter, h_la, la), segment)))
    out: torch.Tensor = norm(_replaced(la_a, pieces))
    return out


def _reads_raw(adapter: Adapter) -> bool:
    """Whether a task adapter reads LA itself."""
    return adapter.config.form == "paper" or not adapter.config.original_ln_before


def _input(adapter: Adapter, normed: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    return normed if adapter.config.original_ln_before else raw


def _added(bottleneck: Bottleneck, residual: torch.Tensor, x: torch.Tensor, segment: Segment) -> torch.Tensor:
    """The segment's rows of `residual` with the bottleneck's output for those of `x` added; both (T, D)."""
    if not bottleneck.is_prepacked:
        return bottleneck.added_to(residual[segment.start : segment.stop], x[segment.start : segment.stop])
    computed, kept = _rows(segment, x.shape[0])
    return bottleneck.added_to(residual[computed], x[computed])[kept]


def _rows(segment: Segment, tokens: int) -> tuple[slice, slice]:
    """The rows of a batch that prepacked layers compute for a segment, and which of the results to keep.

    They are given neighbouring rows too, so that they see few numbers of tokens (`linear.round_tokens`).
    """
    computed = min(round_tokens(segment.stop - segment.start), tokens)
    start = min(segment.start, tokens - computed)
    return slice(start, start + computed), slice(segment.start - start, segment.stop - start)


def invert_rows(e: torch.Tensor, plan: Plan, adapters: Adapters) -> torch.Tensor:
    """Each language's invertible adapter on its own tokens of the embeddings (T, D): MAD-X eq. (3)."""
    pieces: list[tuple[Segment, torch.Tensor]] = []
    for segment in plan.language:
        invertible = None if segment.slot == IDENTITY else adapters[segment.slot].invertible
        if invertible is None:
            continue
        if invertible.is_prepacked:
            computed, kept = _rows(segment, e.shape[0])
            pieces.append((segment, invertible(e[computed])[kept]))
        else:
            pieces.append((segment, invertible(e[segment.start : segment.stop])))
    return _replaced(e, pieces)
