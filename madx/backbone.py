"""The frozen encoder on packed tokens, and where adapters enter it.

All rows of a batch are concatenated; no linear layer sees padding. `Backbone.forward` is the one forward: training
hands it a small dictionary of trainable adapters, the server its bank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .attention import RowLayout, attend, has_varlen_kernel, lay_out
from .config import BackboneConfig, Site
from .grouped import Grouping, adapt_grouped, invert_grouped
from .heads.masked_lm import MaskedLMHead
from .linear import Linear
from .plan import Plan, RowStack, plan_rows
from .stack import Adapters, adapt, invert_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One batch of T tokens, laid out as `plan` says. With a `grouping` adapters act by it, else by the plan."""

    input_ids: torch.Tensor  # (T,) int32 or int64
    position_ids: torch.Tensor  # (T,) int32 or int64
    layout: RowLayout
    plan: Plan
    grouping: Grouping | None = None


def pack(
    rows: Sequence[Sequence[int]], plan: Plan, config: BackboneConfig, device: torch.device, *, bucketed: bool = True
) -> Packed:
    """Token ids of the given rows -> the packed batch, in the plan's order. `bucketed` as `lay_out` has it."""
    ids, positions = ids_and_positions(rows, plan, config)
    return Packed(
        input_ids=ids.to(device),
        position_ids=positions.to(device),
        layout=lay_out(plan.lengths, device, bucketed=bucketed),
        plan=plan,
    )


def ids_and_positions(
    rows: Sequence[Sequence[int]], plan: Plan, config: BackboneConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the given rows' tokens, in the plan's order: each (T,), on the host."""
    flat = [token for row in plan.order for token in rows[row]]
    lengths = torch.tensor(plan.lengths)
    starts = torch.tensor(plan.starts)
    positions = torch.arange(len(flat)) - starts.repeat_interleave(lengths) + config.position_offset
    return torch.tensor(flat), positions


def pack_equal(ids: torch.Tensor, stack: RowStack, config: BackboneConfig) -> Packed:
    """Rows of one length (B, S) that all run through `stack` -> the packed batch, on the ids' device."""
    rows, length = ids.shape
    plan = plan_rows([length] * rows, [stack] * rows)
    positions = torch.arange(length, device=ids.device) + config.position_offset
    return Packed(
        input_ids=ids.flatten(),
        position_ids=positions.repeat(rows),
        layout=lay_out(plan.lengths, ids.device),
        plan=plan,
    )


class Embeddings(nn.Module):
    """Dropout(LN(word + position + type)); every token is of type 0."""

    def __init__(self, config: BackboneConfig, dropout: float) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_positions, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, packed: Packed) -> torch.Tensor:
        e = self.word(packed.input_ids) + self.token_type.weight[0] + self.position(packed.position_ids)
        embedded: torch.Tensor = self.dropout(self.norm(e))
        return embedded


class Attention(nn.Module):
    """Fused query, key and value projections (rows in that order), output projection, its LayerNorm."""

    def __init__(self, config: BackboneConfig, dropout: float) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, layout: RowLayout) -> torch.Tensor:
        """(T, D) -> (T, D), before Add&LN."""
        probability = self.dropout.p if self.training else 0.0
        attended: torch.Tensor = self.dropout(
            self.output(attend(self.qkv(x), self.num_heads, layout, dropout=probability))
        )
        return attended


class FeedForward(nn.Module):
    def __init__(self, config: BackboneConfig, dropout: float) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, config.intermediate_size)
        self.down = Linear(config.intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)
        self._activation = config.activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(T, D) -> (T, D), before Add&LN: the `f` of the adapter equations."""
        f: torch.Tensor = self.dropout(self.down(self.up(x, self._activation)))
        return f


class Layer(nn.Module):
    def __init__(self, config: BackboneConfig, index: int, dropout: float) -> None:
        super().__init__()
        self.index = index
        self.attention = Attention(config, dropout)
        self.feed_forward = FeedForward(config, dropout)

    def forward(self, x: torch.Tensor, packed: Packed, adapters: Adapters) -> torch.Tensor:
        o = self.attention(x, packed.layout)
        a = self._adapt(o, x, self.attention.norm, packed, adapters, "attention")
        f = self.feed_forward(a)
        return self._adapt(f, a, self.feed_forward.norm, packed, adapters, "output")

    def _adapt(
        self, f: torch.Tensor, a: torch.Tensor, norm: nn.Module, packed: Packed, adapters: Adapters, site: Site
    ) -> torch.Tensor:
        if packed.grouping is not None:
            return adapt_grouped(f, a, norm, grouping=packed.grouping, layer=self.index, site=site)
        return adapt(f, a, norm, plan=packed.plan, adapters=adapters, layer=self.index, site=site)


class Backbone(nn.Module):
    """A BERT-like encoder and, where its checkpoint has one, its masked-LM head. `dropout` acts in training only."""

    def __init__(self, config: BackboneConfig, *, masked_lm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config, dropout)
        self.layers = nn.ModuleList(Layer(config, index, dropout) for index in range(config.num_layers))
        self.masked_lm = MaskedLMHead(config) if masked_lm else None

    @property
    def word_embedding(self) -> torch.Tensor:
        """(V, D): also the masked-LM decoder's weight."""
        return self.embeddings.word.weight

    @property
    def device(self) -> torch.device:
        return self.word_embedding.device

    @property
    def runs_varlen(self) -> bool:
        """Whether attention needs no buckets of rows: the device has a kernel, which knows no dropout."""
        head_size = self.config.hidden_size // self.config.num_heads
        return not self.training and has_varlen_kernel(self.device, self.word_embedding.dtype, head_size)

    def forward(self, packed: Packed, adapters: Adapters) -> torch.Tensor:
        """Packed tokens -> last hidden states (T, D), in the plan's order."""
        x: torch.Tensor = self.embeddings(packed)
        x = invert_rows(x, packed.plan, adapters) if packed.grouping is None else invert_grouped(x, packed.grouping)
        for layer in self.layers:
            x = layer(x, packed, adapters)
        return x

    def set_dropout(self, probability: float) -> None:
        """Dropout's rate where a training recipe decides it; it never acts in evaluation mode."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take weights under stored names (query, key and value apart), casting to the module's own dtype."""
        self.load_state_dict(fuse_projections(tensors), strict=True)

    def stored_tensors(self) -> dict[str, torch.Tensor]:
        """The weights under stored names: what the fingerprint covers and what `transformers` is given."""
        return split_projections(self.state_dict())


PROJECTIONS = ("query", "key", "value")


def fuse_projections(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`…attention.{query,key,value}.x` -> `…attention.qkv.x`, stacked along rows."""
    fused: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        head, marker, tail = name.partition(".attention.query.")
        if marker:
            parts = [tensors[f"{head}.attention.{projection}.{tail}"] for projection in PROJECTIONS]
            fused[f"{head}.attention.qkv.{tail}"] = torch.cat(parts)
        elif ".attention.key." not in name and ".attention.value." not in name:
            fused[name] = tensor
    return fused


def split_projections(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The reverse of `fuse_projections`."""
    split: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        head, marker, tail = name.partition(".attention.qkv.")
        if marker:
            for projection, part in zip(PROJECTIONS, tensor.chunk(3), strict=True):
                split[f"{head}.attention.{projection}.{tail}"] = part
        else:
            split[name] = tensor
    return split
