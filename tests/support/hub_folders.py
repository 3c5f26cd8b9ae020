"""AdapterHub folders written by hand, as published ones look, for the tiny backbone of `tiny`: 2 layers of width 32."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from glossa.adapterhub.bin_weights import bin_bytes
from madx.config import BackboneConfig

WIDTH = 32
LAYERS = 2
LABEL_IDS = {"0": 0, "B-PER": 1, "I-PER": 2, "B-ORG": 3, "I-ORG": 4, "B-LOC": 5, "I-LOC": 6}

BACKBONE = BackboneConfig(
    family="xlm-roberta",
    hidden_size=32,
    num_layers=12,
    num_heads=2,
    intermediate_size=64,
    vocab_size=50,
    max_positions=40,
    type_vocab_size=1,
    position_offset=2,
    pad_token_id=1,
    layer_norm_eps=1e-5,
    activation="gelu",
)
# The configuration of a published language adapter (version 0.2.0 of the format), but for its sizes.
CONFIG: dict[str, Any] = {
    "adapter_residual_before_ln": False,
    "cross_adapter": False,
    "dropout": 0.0,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "inv_adapter": "nice",
    "inv_adapter_reduction_factor": 2,
    "is_parallel": False,
    "learn_phm": True,
    "leave_out": [],
    "ln_after": False,
    "ln_before": False,
    "mh_adapter": False,
    "non_linearity": "relu",
    "original_ln_after": True,
    "original_ln_before": True,
    "output_adapter": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_layer": False,
    "phm_rank": 1,
    "reduction_factor": 2,
    "residual_before_ln": True,
    "scaling": 1.0,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "use_gating": False,
}
TASK: dict[str, Any] = {"inv_adapter": None, "inv_adapter_reduction_factor": None, "reduction_factor": 16}
TAGGING: dict[str, Any] = {
    "activation_function": None,
    "dropout_prob": None,
    "head_type": "tagging",
    "label2id": LABEL_IDS,
    "layers": 1,
    "num_labels": len(LABEL_IDS),
}


def adapter_config(name: str = "sw", *, top: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return _around(name, CONFIG | options) | dict(top or {})


def head_config(name: str = "ner", *, top: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return _around(name, TAGGING | options) | dict(top or {})


def _around(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "config": dict(config),
        "hidden_size": WIDTH,
        "model_class": "XLMRobertaAdapterModel",
        "model_name": "xlm-roberta-base",
        "model_type": "xlm-roberta",
        "name": name,
        "version": "0.2.0",
    }


def adapter_tensors(
    name: str = "sw", *, reduction: int = 2, inverse: bool = True, layers: tuple[int, ...] = (0, 1), seed: int = 0
) -> dict[str, torch.Tensor]:
    size, half = WIDTH // reduction, WIDTH // 2
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        place = f"roberta.encoder.layer.{layer}.output.adapters.{name}"
        shapes |= {f"{place}.adapter_down.0.weight": (size, WIDTH), f"{place}.adapter_down.0.bias": (size,)}
        shapes |= {f"{place}.adapter_up.weight": (WIDTH, size), f"{place}.adapter_up.bias": (WIDTH,)}
    for function in "FG" if inverse else "":
        place = f"roberta.invertible_adapters.{name}.{function}"
        shapes |= {f"{place}.0.weight": (half // 2, half), f"{place}.0.bias": (half // 2,)}
        shapes |= {f"{place}.2.weight": (half, half // 2), f"{place}.2.bias": (half,)}
    return _random(shapes, seed)


def head_tensors(name: str = "ner", *, labels: int = len(LABEL_IDS), seed: int = 1) -> dict[str, torch.Tensor]:
    return _random({f"heads.{name}.1.weight": (labels, WIDTH), f"heads.{name}.1.bias": (labels,)}, seed)


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write_language(folder: Path, *, safe: bool = False, **config: Any) -> Path:
    """A language adapter called sw; `config` overrides options of its configuration."""
    return write(folder, adapter_config(**config), adapter_tensors(), safe=safe)


def write_task(folder: Path, name: str = "ner", *, safe: bool = False, **head: Any) -> Path:
    """A tagger; `head` overrides options of its head's configuration."""
    write(folder, adapter_config(name, **TASK), adapter_tensors(name, reduction=16, inverse=False), safe=safe)
    return write(folder, head_config(name, **head), head_tensors(name), safe=safe, head=True)


def write(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    safe: bool = False,
    head: bool = False,
) -> Path:
    """The two files of an adapter, or of its head."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ("head_config.json" if head else "adapter_config.json")).write_text(json.dumps(config), "utf-8")
    if safe:
        weights = folder / ("model_head.safetensors" if head else "adapter.safetensors")
        weights.write_bytes(safetensors.torch.save(dict(tensors)))
    else:
        weights = folder / ("pytorch_model_head.bin" if head else "pytorch_adapter.bin")
        weights.write_bytes(bin_bytes(dict(tensors)))
    return folder
