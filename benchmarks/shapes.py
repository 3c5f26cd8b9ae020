"""What the speed benchmarks compute with: XLM-R base's shape, adapters of the published sizes, random weights.

Weights are N(0, 0.02), as `transformers` initialises them: larger ones, multiplied layer by layer, would leave the
range in which processors calculate at full speed, and smaller ones too.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from madx.adapter import Adapter
from madx.backbone import Backbone
from madx.config import AdapterConfig, BackboneConfig, HeadConfig, bottleneck_size, language_config, task_config

START, END, MASK, SPECIAL_PIECES = 0, 2, 4, 5
STD = 0.02

XLM_R_BASE = BackboneConfig(
    family="xlm-roberta",
    hidden_size=768,
    num_layers=12,
    num_heads=12,
    intermediate_size=3072,
    vocab_size=250_002,
    max_positions=514,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)

LANGUAGE = language_config()
TASK = task_config()
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-DATE", "I-DATE")
HEAD = HeadConfig(type="tagging", labels=LABELS)


def random_backbone(shape: BackboneConfig, *, dropout: float = 0.0) -> Backbone:
    """Frozen, at the initial weights that `transformers` gives XLM-R, drawn from torch's own generator."""
    backbone = Backbone(shape, dropout=dropout)
    _randomise(backbone.named_parameters())
    return backbone.requires_grad_(False)


def random_adapter(
    shape: BackboneConfig, config: AdapterConfig, head: HeadConfig | None = None, *, seed: int
) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    adapter = Adapter(config, head, shape)
    _randomise(adapter.named_parameters(), generator)
    return adapter.requires_grad_(False).eval()


def random_language(shape: BackboneConfig, rank: int) -> Adapter:
    """The same for the same shape and rank, wherever it is made."""
    return random_adapter(shape, LANGUAGE, seed=1_000 + rank)


def random_task(shape: BackboneConfig, rank: int) -> Adapter:
    return random_adapter(shape, TASK, HEAD, seed=100_000 + rank)


@torch.no_grad()
def _randomise(named: Iterable[tuple[str, torch.Tensor]], generator: torch.Generator | None = None) -> None:
    for name, parameter in named:
        if parameter.dim() > 1:
            parameter.normal_(std=STD, generator=generator)
        elif name.endswith("bias"):
            parameter.zero_()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """Multiply-accumulates of one token in a row of `length` tokens; one is two floating-point operations."""

    backbone: int
    attention: int
    language: int
    task: int
    invertible: int

    @property
    def full_stack(self) -> int:
        return self.backbone + self.attention + self.language + self.task + self.invertible


def arithmetic(shape: BackboneConfig, *, length: float) -> Arithmetic:
    """L (4 D^2 + 2 D F), attention L 2 s D, a bottleneck L 2 D R, both functions of the coupling 4 (D/2) (D/4)."""
    hidden, layers = shape.hidden_size, shape.num_layers
    inverse = LANGUAGE.invertible
    assert inverse is not None
    half = hidden // 2
    return Arithmetic(
        backbone=layers * (4 * hidden**2 + 2 * hidden * shape.intermediate_size),
        attention=round(layers * 2 * length * hidden),
        language=layers * 2 * hidden * bottleneck_size(hidden, LANGUAGE.reduction),
        task=layers * 2 * hidden * bottleneck_size(hidden, TASK.reduction),
        invertible=4 * half * bottleneck_size(half, inverse.reduction),
    )
