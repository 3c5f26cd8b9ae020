"""Model families: how a Hugging Face configuration and its tensor names map to ours.

A new BERT-like family is one more `FamilyMap` here, its name in `config.Family` and, for AdapterHub's files, its prefix
in `adapterhub`. Torch-free.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .config import ACTIVATIONS, Activation, BackboneConfig, Family
from .errors import BackboneUnavailable

_ACTIVATION_NAMES: dict[str, Activation] = {name: name for name in ACTIVATIONS} | {
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "swish": "silu",
}


class HubConfig(Protocol):
    """The fields of a `transformers` configuration that are read here."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    pad_token_id: int
    hidden_act: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    start: str
    end: str
    mask: str
    pad: str
    unknown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyMap:
    """`prefix` stands before encoder names; `masked_lm` maps our head's names to theirs.

    `bias_aliases` are names under which a checkpoint may hold the decoder's bias.
    """

    prefix: str
    masked_lm: Mapping[str, str]
    bias_aliases: tuple[str, ...]
    position_offset: Callable[[int], int]  # pad token id -> position id of a row's first token
    head_activation: Callable[[str], str]  # the encoder's activation -> the masked-LM head's
    tokens: SpecialTokens


_ROBERTA = FamilyMap(
    prefix="roberta.",
    masked_lm={
        "masked_lm.dense.weight": "lm_head.dense.weight",
        "masked_lm.dense.bias": "lm_head.dense.bias",
        "masked_lm.norm.weight": "lm_head.layer_norm.weight",
        "masked_lm.norm.bias": "lm_head.layer_norm.bias",
        "masked_lm.bias": "lm_head.bias",
    },
    bias_aliases=("lm_head.bias", "lm_head.decoder.bias"),
    position_offset=lambda pad: pad + 1,
    head_activation=lambda _: "gelu",
    tokens=SpecialTokens(start="<s>", end="</s>", mask="<mask>", pad="<pad>", unknown="<unk>"),
)
_BERT = FamilyMap(
    prefix="bert.",
    masked_lm={
        "masked_lm.dense.weight": "cls.predictions.transform.dense.weight",
        "masked_lm.dense.bias": "cls.predictions.transform.dense.bias",
        "masked_lm.norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "masked_lm.norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "masked_lm.bias": "cls.predictions.bias",
    },
    bias_aliases=("cls.predictions.bias", "cls.predictions.decoder.bias"),
    position_offset=lambda _: 0,
    head_activation=lambda encoder: encoder,
    tokens=SpecialTokens(start="[CLS]", end="[SEP]", mask="[MASK]", pad="[PAD]", unknown="[UNK]"),
)
FAMILIES: dict[Family, FamilyMap] = {"bert": _BERT, "roberta": _ROBERTA, "xlm-roberta": _ROBERTA}

_EMBEDDINGS = {
    "embeddings.word.weight": "embeddings.word_embeddings.weight",
    "embeddings.position.weight": "embeddings.position_embeddings.weight",
    "embeddings.token_type.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.norm.weight": "embeddings.LayerNorm.weight",
    "embeddings.norm.bias": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward.norm": "output.LayerNorm",
}


def backbone_config(config: HubConfig) -> BackboneConfig:
    """A `transformers` configuration -> ours. Raises `BackboneUnavailable` for what the encoder does not compute."""
    if config.model_type not in FAMILIES:
        supported = ", ".join(sorted(FAMILIES))
        raise BackboneUnavailable(f"model type {config.model_type!r} is not supported; supported are {supported}")
    family = config.model_type
    if getattr(config, "position_embedding_type", "absolute") not in ("absolute", None):
        raise BackboneUnavailable("relative position embeddings are not supported; the model must use absolute ones")
    if getattr(config, "is_decoder", False):
        raise BackboneUnavailable("the configuration is a decoder's; Glossa serves encoders")
    mapping = FAMILIES[family]
    return BackboneConfig(
        family=family,
        hidden_size=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings,
        type_vocab_size=config.type_vocab_size,
        position_offset=mapping.position_offset(config.pad_token_id),
        pad_token_id=config.pad_token_id,
        layer_norm_eps=config.layer_norm_eps,
        activation=_activation(config.hidden_act),
        masked_lm_activation=_activation(mapping.head_activation(config.hidden_act)),
    )


def _activation(name: str) -> Activation:
    if name not in _ACTIVATION_NAMES:
        raise BackboneUnavailable(f"activation {name!r} is not supported; supported are {', '.join(ACTIVATIONS)}")
    return _ACTIVATION_NAMES[name]


def hub_config_fields(config: BackboneConfig) -> dict[str, int | float | str]:
    """The reverse of `backbone_config`, for saving a backbone trained here."""
    return {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.layer_norm_eps,
        "pad_token_id": config.pad_token_id,
        "hidden_act": config.activation,
    }


def tensor_names(config: BackboneConfig) -> dict[str, str]:
    """Our stored name -> the checkpoint's name, for every tensor of the encoder and of its masked-LM head."""
    mapping = FAMILIES[config.family]
    names = {ours: mapping.prefix + theirs for ours, theirs in _EMBEDDINGS.items()}
    for layer in range(config.num_layers):
        for ours, theirs in _LAYER.items():
            for part in ("weight", "bias"):
                names[f"layers.{layer}.{ours}.{part}"] = f"{mapping.prefix}encoder.layer.{layer}.{theirs}.{part}"
    return names | dict(mapping.masked_lm)
