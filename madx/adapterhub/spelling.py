"""Older and other spellings of AdapterHub's tensor names, brought to the ones that `names` knows.

Version 1 called its modules by kind, a bare encoder has no prefix, a static model's head has the names of the model;
and a head's file may hold other heads, because the library picks tensors by a prefix of the name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..families import FAMILIES
from .errors import UnsupportedHubAdapter
from .heads import HubHead
from .names import HubNaming, family_prefix

Tensor = TypeVar("Tensor")

_VERSION_1 = {
    "attention_text_lang_adapters": "adapters",
    "attention_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
_BARE = ("encoder", "invertible_adapters")
_METHODS = {
    "adapter_fusion_layer": "AdapterFusion",
    "loras": "LoRA",
    "prefix_tunings": "prefix tuning",
    "prompt_tunings": "prompt tuning",
    "refts": "ReFT",
}
_LAYER = re.compile(r"\.encoder\.layer\.(\d+)\.")
_TAGGING_PLACE, _DECODER_PLACE = "1", "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen(Generic[Tensor]):
    """One adapter's or head's tensors under today's names, and the names of others whose tensors were skipped."""

    tensors: dict[str, Tensor]
    others: tuple[str, ...] = ()


def choose_adapter(tensors: Mapping[str, Tensor], naming: HubNaming) -> Chosen[Tensor]:
    """The tensors of adapter `naming.adapter`. Raises `UnsupportedHubAdapter` for those of another method."""
    prefix = family_prefix(naming.family)
    chosen: dict[str, Tensor] = {}
    others: set[str] = set()
    for key, tensor in tensors.items():
        path = [_VERSION_1.get(part, part) for part in key.split(".")]
        if path[0] in _BARE:
            path = [prefix, *path]
        method = next((_METHODS[part] for part in path if part in _METHODS), None)
        if method is not None:
            raise UnsupportedHubAdapter(f"the file holds tensors of {method} ({key}), which is not supported")
        owner = _owner(path)
        if owner is not None and owner != naming.adapter:
            others.add(owner)
        else:
            chosen[".".join(path)] = tensor
    return Chosen(tensors=chosen, others=tuple(sorted(others)))


def _owner(path: list[str]) -> str | None:
    """The name that follows `adapters` or `invertible_adapters`."""
    places = [index for index, part in enumerate(path[:-1]) if part in ("adapters", "invertible_adapters")]
    return path[places[0] + 1] if places else None


def layers_of(tensors: Mapping[str, object]) -> frozenset[int]:
    """The layers that hold a bottleneck."""
    return frozenset(int(match[1]) for key in tensors if (match := _LAYER.search(key)))


def has_inverse(tensors: Mapping[str, object]) -> bool:
    return any("invertible_adapters" in key.split(".") for key in tensors)


def choose_head(tensors: Mapping[str, Tensor], head: HubHead, naming: HubNaming) -> Chosen[Tensor]:
    """The head's tensors, a static model's under the names that a flexible head `naming.head` would have."""
    if head.is_static:
        return Chosen(tensors=_from_static(tensors, head, naming))
    chosen: dict[str, Tensor] = {}
    others: set[str] = set()
    for key, tensor in tensors.items():
        path = key.split(".")
        if path[0] == "heads" and len(path) > 2 and path[1] != naming.head:
            others.add(path[1])
        else:
            chosen[key] = tensor
    return Chosen(tensors=chosen, others=tuple(sorted(others)))


def _from_static(tensors: Mapping[str, Tensor], head: HubHead, naming: HubNaming) -> dict[str, Tensor]:
    renamed = {f"classifier.{kind}": f"heads.{naming.head}.{_TAGGING_PLACE}.{kind}" for kind in ("weight", "bias")}
    if head.type == "masked_lm":
        family = FAMILIES[naming.family]
        renamed = {theirs: naming.tensor("head." + ours.split(".", 1)[1]) for ours, theirs in family.masked_lm.items()}
        renamed |= dict.fromkeys(family.bias_aliases, f"heads.{naming.head}.{_DECODER_PLACE}.bias")
        renamed[family.bias_aliases[1].replace(".bias", ".weight")] = naming.tied_decoder
    return {renamed.get(key, key): tensor for key, tensor in tensors.items()}
