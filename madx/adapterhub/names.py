"""AdapterHub's tensor names <-> ours: maps of tensors, no files.

AdapterHub (`adapters` 1.x) names an adapter's tensors by the model's prefix, the layer's path and the adapter's name,
a flexible head's by the index in its Sequential. Both directions are strict: a tensor that is missing or that nothing
here knows is an error, because the library itself leaves such tensors random without a word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..config import AdapterConfig, BackboneConfig, Family, HeadConfig
from ..errors import InvalidWeights
from ..shapes import adapter_shapes

Tensor = TypeVar("Tensor")

_PREFIXES: dict[Family, str] = {"bert": "bert", "roberta": "roberta", "xlm-roberta": "roberta"}
_SITES = {"attention": "attention.output", "output": "output"}
_BOTTLENECK = {"down": "adapter_down.0", "up": "adapter_up"}
_COUPLING = {"down": "0", "up": "2"}
# Places in the Sequential [Dropout, Linear, activation, Dropout, Linear] and [Linear, activation, LayerNorm, Linear].
_TAGGING = {"0": "1", "1": "4"}
_MASKED_LM = {"dense": "0", "norm": "2"}
_DECODER = "3"


def family_prefix(family: Family) -> str:
    """What stands before an encoder's tensor names."""
    return _PREFIXES[family]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubNaming:
    """What AdapterHub's names depend on besides the tensor: the model's family, the adapter's and the head's name."""

    family: Family
    adapter: str
    head: str

    def tensor(self, name: str) -> str:
        """AdapterHub's name of our tensor `name`, one of those that `adapter_shapes` lists."""
        part, *path = name.split(".")
        if part == "head":
            return f"heads.{self.head}.{_head_place(path)}"
        prefix = _PREFIXES[self.family]
        if part == "invertible":
            function, half, kind = path
            return f"{prefix}.invertible_adapters.{self.adapter}.{function}.{_COUPLING[half]}.{kind}"
        layer, site, half, kind = path
        block = f"{prefix}.encoder.layer.{layer}.{_SITES[site]}"
        return f"{block}.adapters.{self.adapter}.{_BOTTLENECK[half]}.{kind}"

    @property
    def tied_decoder(self) -> str:
        """The output embeddings that a masked_lm head's file repeats; the backbone owns them, so we store none."""
        return f"heads.{self.head}.{_DECODER}.weight"


def _head_place(path: list[str]) -> str:
    if path == ["bias"]:
        return f"{_DECODER}.bias"
    if path[0] == "layers":
        return f"{_TAGGING[path[1]]}.{path[2]}"
    return f"{_MASKED_LM[path[0]]}.{path[1]}"


def hub_names(
    config: AdapterConfig, head: HeadConfig | None, backbone: BackboneConfig, naming: HubNaming
) -> dict[str, str]:
    """Our name -> AdapterHub's, for every tensor of an adapter, in stored order."""
    return {name: naming.tensor(name) for name in adapter_shapes(config, head, backbone)}


def from_hub(
    tensors: Mapping[str, Tensor],
    *,
    config: AdapterConfig,
    head: HeadConfig | None,
    backbone: BackboneConfig,
    naming: HubNaming,
) -> dict[str, Tensor]:
    """AdapterHub's adapter and head tensors under our names; the repeated output embeddings are dropped.

    Raises `InvalidWeights` if a tensor is missing or unknown.
    """
    names = hub_names(config, head, backbone, naming)
    known = set(names.values())
    if head is not None and head.type == "masked_lm":
        known.add(naming.tied_decoder)
    _refuse(sorted(set(names.values()) - tensors.keys()), "lacks", naming)
    _refuse(sorted(tensors.keys() - known), "has unknown", naming)
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def to_hub(
    tensors: Mapping[str, Tensor],
    *,
    config: AdapterConfig,
    head: HeadConfig | None,
    backbone: BackboneConfig,
    naming: HubNaming,
    word_embeddings: Tensor | None = None,
) -> dict[str, Tensor]:
    """Our tensors under AdapterHub's names. A masked_lm head needs the backbone's `word_embeddings`, shape (V, D).

    Raises `InvalidWeights` if a tensor is missing or unknown, or the embeddings are.
    """
    names = hub_names(config, head, backbone, naming)
    _refuse(sorted(names.keys() - tensors.keys()), "lacks", naming)
    _refuse(sorted(tensors.keys() - names.keys()), "has unknown", naming)
    renamed = {theirs: tensors[ours] for ours, theirs in names.items()}
    if head is not None and head.type == "masked_lm":
        if word_embeddings is None:
            raise InvalidWeights("AdapterHub stores a masked_lm head with its decoder; pass the word embeddings")
        renamed[naming.tied_decoder] = word_embeddings
    return renamed


def _refuse(names: list[str], verb: str, naming: HubNaming) -> None:
    if names:
        rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InvalidWeights(
            f"adapter {naming.adapter!r} {verb} {names[0]}{rest}; check its configuration, family and leave_out"
        )
