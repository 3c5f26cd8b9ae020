"""`AdapterConfig` and `HeadConfig` -> AdapterHub's two JSON files, complete for `adapters` 1.3.0."""

from typing import Any

from ..config import Activation, AdapterConfig, BackboneConfig, Family, HeadConfig
from ..tasks.ner import OUTSIDE
from .config import DEFAULTS, WITHOUT_EFFECT, Json
from .errors import NotExpressible

HUB_VERSION = "adapters.1.3.0"
"""The format that is written. Any version keeps a reader from renaming `gelu`."""

MODEL_CLASSES: dict[Family, str] = {
    "bert": "BertAdapterModel",
    "roberta": "RobertaAdapterModel",
    "xlm-roberta": "XLMRobertaAdapterModel",
}


def write_adapter_config(
    config: AdapterConfig, *, name: str, backbone: BackboneConfig, model_name: str, dropout: float = 0.0
) -> Json:
    """A complete `adapter_config.json` of the version `HUB_VERSION`. Raises `NotExpressible`."""
    if config.placement != "pfeiffer":
        raise NotExpressible(f"the placement {config.placement} is not exported yet")
    inverse = config.invertible
    if inverse is not None and inverse.non_linearity != config.non_linearity:
        raise NotExpressible(
            f"its invertible adapter runs {inverse.non_linearity}, its bottlenecks {config.non_linearity}; "
            "AdapterHub's format has one non-linearity for both"
        )
    fields = {
        **DEFAULTS,
        **WITHOUT_EFFECT,
        "mh_adapter": False,
        "output_adapter": True,
        "reduction_factor": _plain(config.reduction),
        "non_linearity": hub_name(config.non_linearity),
        "original_ln_before": config.original_ln_before,
        "scaling": config.scaling,
        "dropout": dropout,
        "leave_out": list(config.leave_out),
        "inv_adapter": None if inverse is None else "nice",
        "inv_adapter_reduction_factor": None if inverse is None else _plain(inverse.reduction),
    }
    return hub_file(fields, name=name, backbone=backbone, model_name=model_name)


def hub_file(fields: Json, *, name: str, backbone: BackboneConfig, model_name: str) -> Json:
    """The object around the fields of an adapter or of a head."""
    return {
        "config": fields,
        "hidden_size": backbone.hidden_size,
        "model_class": MODEL_CLASSES[backbone.family],
        "model_name": model_name,
        "model_type": backbone.family,
        "name": name,
        "version": HUB_VERSION,
    }


def hub_name(activation: Activation) -> str:
    return "swish" if activation == "silu" else activation


def _plain(factor: float) -> int | float:
    return int(factor) if factor.is_integer() else factor


def write_head_config(
    head: HeadConfig, *, name: str, backbone: BackboneConfig, model_name: str, outside: str | None = None
) -> Json:
    """A complete `head_config.json` of a flexible head. `outside` is how to spell the outside tag."""
    fields: dict[str, Any]
    if head.type == "tagging":
        labels = [outside if outside is not None and label == OUTSIDE else label for label in head.labels]
        fields = {
            "activation_function": hub_name(head.activation) if head.layers > 1 else None,
            "dropout_prob": None,
            "head_type": "tagging",
            "label2id": {label: number for number, label in enumerate(labels)},
            "layers": head.layers,
            "num_labels": len(labels),
        }
    else:
        fields = {
            "activation_function": hub_name(backbone.masked_lm_activation),
            "bias": True,
            "embedding_size": backbone.hidden_size,
            "head_type": "masked_lm",
            "label2id": None,
            "layer_norm": True,
            "layers": 2,
            "shift_labels": False,
            "vocab_size": backbone.vocab_size,
        }
    return hub_file(fields, name=name, backbone=backbone, model_name=model_name)
