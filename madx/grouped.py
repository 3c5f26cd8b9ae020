"""The arithmetic of `stack` for adapters in slabs: one grouped product per matrix of a slab, however many adapters run.

Packed tokens are sorted by language slot, and so by slab and place: a language slab's tokens are a slice of the batch.
A task slab's are gathered once per sub-layer, and its results put back. Inference only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .activations import activation
from .config import Site
from .grouping import EMBEDDINGS, GroupDraft
from .precision import Precision
from .slabs import Slab, StackedBottleneck

_FIRST_CAPABILITY = (9, 0)
_PAST_CAPABILITY = (11, 0)


def has_grouped_kernel(device: torch.device, precision: Precision) -> bool:
    """Whether PyTorch multiplies groups in one kernel. Where it has none, it waits for the device before each product.

    As of PyTorch 2.13 it has one for bfloat16 on CUDA with compute capability 9 and 10.
    """
    return (
        device.type == "cuda"
        and precision.activations == precision.adapters == torch.bfloat16
        and _FIRST_CAPABILITY <= torch.cuda.get_device_capability(device) < _PAST_CAPABILITY
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The N tokens of a batch, T in all, that one slab's adapters are applied to: packed tokens `start` to `stop`.

    Token k of the group, in order of place, belongs to `places[k]`. What lies beyond the last end belongs to none, and
    no product writes it: `acting` is False there.
    """

    slab: Slab
    start: int
    stop: int
    ends: torch.Tensor  # (C,) int32: where each place's tokens end
    places: torch.Tensor  # (N,) int32
    order: torch.Tensor | None  # (N,) int32: the group's tokens in order of place; None where they are in it
    inverse: torch.Tensor | None  # (N,) int32
    acting: torch.Tensor | None  # (L + 1, N, 1) bool, by layer, then the embeddings; None where all tokens always act

    def window(self, x: torch.Tensor) -> torch.Tensor:
        """(T, D) -> the group's (N, D)."""
        return x[self.start : self.stop]

    def bottleneck(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Each token of (N, D_in) through its own adapter's bottleneck -> (N, D_out), the caller's to write to."""
        if self.order is not None:
            x = x.index_select(0, self.order)
        y = self._multiplied(self.slab.bottlenecks[name], x)
        return y if self.inverse is None else y.index_select(0, self.inverse)

    def _multiplied(self, stacked: StackedBottleneck, x: torch.Tensor) -> torch.Tensor:
        y = F.grouped_mm(x, stacked.down, offs=self.ends)
        y = activation(stacked.non_linearity)(y.add_(stacked.down_bias.index_select(0, self.places)))
        y = F.grouped_mm(y, stacked.up, offs=self.ends).add_(stacked.up_bias.index_select(0, self.places))
        return y if stacked.scaling == 1.0 else y.mul_(stacked.scaling)

    def put(self, base: torch.Tensor, rows: torch.Tensor, layer: int) -> torch.Tensor:
        """`base` (T, D) with (N, D) in place of the group's tokens that act in `layer`."""
        if self.acting is not None:
            rows = torch.where(self.acting[layer], rows, self.window(base))
        if rows.shape[0] == base.shape[0]:
            return rows
        whole = base.clone()
        self.window(whole).copy_(rows)
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """A batch's groups; no token acts in two of `language`, nor in two of `task`."""

    language: tuple[Group, ...]
    task: tuple[Group, ...]


def open_group(draft: GroupDraft, numbers: dict[str, torch.Tensor]) -> Group:
    """The group of a draft whose numbers have come to the device."""
    acting = numbers.get(f"{draft.name}.acting")
    if acting is not None:
        tokens = draft.stop - draft.start
        acting = acting.view(-1, tokens, 1).bool().expand(draft.num_layers + 1, tokens, 1)
    return Group(
        slab=draft.slab,
        start=draft.start,
        stop=draft.stop,
        ends=numbers[f"{draft.name}.ends"],
        places=numbers[f"{draft.name}.places"],
        order=numbers.get(f"{draft.name}.order"),
        inverse=numbers.get(f"{draft.name}.inverse"),
        acting=acting,
    )


def adapt_grouped(
    f: torch.Tensor, a: torch.Tensor, norm: nn.Module, *, grouping: Grouping, layer: int, site: Site
) -> torch.Tensor:
    """`stack.adapt` by groups: sub-layer output `f` and residual `a`, both (T, D) -> the sub-layer's output (T, D)."""
    name = f"layers.{layer}.{site}"
    language = _acting(grouping.language, name)
    task = _acting(grouping.task, name)
    h: torch.Tensor = norm(f + a)
    if not language and not task:
        return h
    la = f
    for group in language:
        x = h if group.slab.config.original_ln_before else f
        la = group.put(la, group.bottleneck(name, group.window(x)).add_(group.window(f)), layer)
    h_la: torch.Tensor = norm(la + a) if language else h
    if not task:
        return h_la
    out = la
    for group in task:
        if group.slab.config.form == "paper":
            rows = group.bottleneck(name, group.window(_after_languages(language, h, la, layer)))
            out = group.put(out, rows.add_(group.window(f)), layer)
        else:
            x = h_la if group.slab.config.original_ln_before else la
            out = group.put(out, group.bottleneck(name, group.window(x)).add_(group.window(la)), layer)
    result: torch.Tensor = norm(out + a)
    return result


def _acting(groups: Sequence[Group], name: str) -> list[Group]:
    return [group for group in groups if name in group.slab.bottlenecks]


def _after_languages(language: Sequence[Group], h: torch.Tensor, la: torch.Tensor, layer: int) -> torch.Tensor:
    """What form "paper" reads: LA where a language adapter acts, else LN(f + a)."""
    for group in language:
        h = group.put(h, group.window(la), layer)
    return h


def invert_grouped(e: torch.Tensor, grouping: Grouping) -> torch.Tensor:
    """`stack.invert_rows` by groups: embeddings (T, D) -> (T, D)."""
    first = e.shape[1] // 2
    for group in _acting(grouping.language, "invertible.F"):
        e1, e2 = group.window(e).tensor_split((first,), dim=-1)
        o1 = group.bottleneck("invertible.F", e2).add_(e1)
        o2 = group.bottleneck("invertible.G", o1).add_(e2)
        e = group.put(e, torch.cat((o1, o2), dim=-1), EMBEDDINGS)
    return e
