"""Frozen, validated configuration of backbones, adapters, heads and compositions. Torch-free.

Everything that decides an adapter's tensor names, shapes and arithmetic is here; `shapes` reads the first two off it,
`adapter` builds modules from it, `manifest` stores it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from .errors import InvalidConfig

Activation = Literal["relu", "gelu", "gelu_new", "silu", "tanh"]
Family = Literal["bert", "roberta", "xlm-roberta"]
Form = Literal["adapterhub", "paper"]
HeadType = Literal["tagging", "masked_lm"]
Placement = Literal["pfeiffer", "houlsby"]
Site = Literal["attention", "output"]

SITES: dict[Placement, tuple[Site, ...]] = {"pfeiffer": ("output",), "houlsby": ("attention", "output")}

LEAST_REDUCTION = 0.1
"""Ten units in a bottleneck for each of its inputs; what asks for more is a mistake."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidConfig(message)


def _require_layers(leave_out: tuple[int, ...]) -> None:
    _require(leave_out == tuple(sorted(set(leave_out))), "leave_out must be ascending and unique")
    _require(all(layer >= 0 for layer in leave_out), "leave_out holds 0-based layer numbers")


def bottleneck_size(width: int, reduction: float) -> int:
    """Units in a bottleneck under `width` inputs: int(width // reduction), as AdapterHub rounds it."""
    return int(width // reduction)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """The fields of an encoder that decide its arithmetic; all of them enter the fingerprint.

    `position_offset` is the position id of a row's first token (RoBERTa: pad id + 1; BERT: 0), so a row may hold
    `max_positions - position_offset` tokens.
    """

    family: Family
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    type_vocab_size: int
    position_offset: int
    pad_token_id: int
    layer_norm_eps: float
    activation: Activation
    masked_lm_activation: Activation = "gelu"

    def __post_init__(self) -> None:
        sizes = (self.hidden_size, self.num_layers, self.num_heads, self.intermediate_size, self.vocab_size)
        _require(min(sizes) > 0, "a backbone's sizes must be positive")
        _require(self.hidden_size % self.num_heads == 0, "hidden_size must be a multiple of num_heads")
        _require(self.max_positions > self.position_offset, "max_positions leaves no room for a token")

    @property
    def max_tokens(self) -> int:
        """Tokens that one row may hold, special tokens included."""
        return self.max_positions - self.position_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertibleConfig:
    """NICE coupling on the embeddings (MAD-X section 4.3). Its non-linearity is its own."""

    block_type: Literal["nice"] = "nice"
    reduction: float = 2.0
    non_linearity: Activation = "relu"

    def __post_init__(self) -> None:
        _require(self.reduction >= LEAST_REDUCTION, f"invertible.reduction must be at least {LEAST_REDUCTION}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """One bottleneck per layer and site.

    `form` matters to task adapters alone: "adapterhub" is the arithmetic of every published weight, "paper" is MAD-X
    eq. (2) literally. `leave_out` lists 0-based layers that hold no bottleneck. `original_ln_before` feeds the
    bottleneck LN(f + a); without it the bottleneck sees f.
    """

    placement: Placement = "pfeiffer"
    form: Form = "adapterhub"
    reduction: float = 2.0
    non_linearity: Activation = "relu"
    scaling: float = 1.0
    original_ln_before: bool = True
    leave_out: tuple[int, ...] = ()
    invertible: InvertibleConfig | None = None

    def __post_init__(self) -> None:
        _require(self.reduction >= LEAST_REDUCTION, f"reduction must be at least {LEAST_REDUCTION}")
        _require_layers(self.leave_out)

    @property
    def sites(self) -> tuple[Site, ...]:
        return SITES[self.placement]


def language_config(*, invertible: bool = True, leave_out: tuple[int, ...] = ()) -> AdapterConfig:
    """The published language adapter: reduction 2, ReLU, with NICE unless told otherwise."""
    return AdapterConfig(reduction=2.0, leave_out=leave_out, invertible=InvertibleConfig() if invertible else None)


def task_config(
    *, reduction: float = 16.0, form: Form = "adapterhub", leave_out: tuple[int, ...] = ()
) -> AdapterConfig:
    """The published task adapter: reduction 16, ReLU, no invertible adapter."""
    return AdapterConfig(reduction=reduction, form=form, leave_out=leave_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """What reads the encoder's output: `tagging` (labels in the order of the logits) or a `masked_lm` copy.

    `layers` counts the linear layers of a tagging head; `activation` stands between two of them.
    """

    type: HeadType
    labels: tuple[str, ...] = ()
    layers: int = 1
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        if self.type == "tagging":
            _require(len(self.labels) >= 2, "a tagging head needs at least two labels")
            _require(len(set(self.labels)) == len(self.labels), "a tagging head's labels must be distinct")
            _require(self.layers in (1, 2), "a tagging head has one or two linear layers")
        else:
            _require(not self.labels, "a masked_lm head carries no labels: its vocabulary is the tokenizer's")


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """Which stack a task adapter is meant for.

    `language` is "swapped" (the request's language decides), "none" (no language adapter), or a pinned version as
    `name@number`. `leave_out` lists layers of the language adapter that do not act.
    """

    language: str = "swapped"
    leave_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        pinned = self.language.rpartition("@")
        is_pinned = bool(pinned[0]) and pinned[2].isascii() and pinned[2].isdigit()
        _require(
            self.language in ("swapped", "none") or is_pinned,
            'composition.language is "swapped", "none" or a pinned version like "en-sw@3"',
        )
        _require_layers(self.leave_out)


ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
