"""`adapter_config.json` -> `AdapterConfig`. Strict: an option that this network does not compute is refused by name.

Keys that only steer initialisation, or a method that is switched off, are skipped. What a missing key means is what
`adapters` 1.3.0 takes it for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from ..config import Activation, AdapterConfig, Family, InvertibleConfig
from ..errors import InvalidConfig
from ..families import FAMILIES
from ..manifest import Kind
from .errors import InvalidHubConfig, UnsupportedHubAdapter

Json = Mapping[str, Any]

_KINDS: dict[object, Kind] = {"text_lang": "language", "text_task": "task"}
_ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
}
# In version 1 `gelu` was the tanh approximation; a file without a version key is of that time.
_ACTIVATIONS_OF_VERSION_1 = {"gelu": "gelu_new", "gelu_orig": "gelu"}
_OLD_SPELLINGS = {
    "LN_after": "ln_after",
    "LN_before": "ln_before",
    "MH_Adapter": "mh_adapter",
    "Output_Adapter": "output_adapter",
}
_ARCHITECTURES = {
    "lora": "LoRA",
    "mtl_lora": "LoRA for several tasks",
    "prefix_tuning": "prefix tuning",
    "prompt_tuning": "prompt tuning",
    "reft": "ReFT",
    "union": "a union of several methods",
}
DEFAULTS: dict[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "cross_adapter": False,
    "leave_out": [],
    "dropout": 0.0,
    "phm_layer": False,
    "stochastic_depth": 0.0,
}
_REQUIRED = ("mh_adapter", "output_adapter", "reduction_factor", "non_linearity")
_FLAGS = (
    *("mh_adapter", "output_adapter", "original_ln_before", "original_ln_after", "ln_before", "ln_after"),
    *("is_parallel", "use_gating", "cross_adapter", "phm_layer"),
)
# Initial weights, the inside of PHM layers (refused where they are on), and where a residual stands beside a LayerNorm
# that only `ln_after` brings. Written out again as `adapters` has them by default.
WITHOUT_EFFECT: dict[str, Any] = {
    "adapter_residual_before_ln": False,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": None,
    "learn_phm": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_rank": 1,
    "shared_W_phm": False,
    "shared_phm_rule": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAdapter:
    """What an `adapter_config.json` says. Only version 1 states the `kind`; `dropout` acts in training alone."""

    name: str
    kind: Kind | None
    family: Family
    model_name: str | None
    hidden_size: int | None
    version: str | None
    dropout: float
    config: AdapterConfig


def read_adapter_config(content: Json) -> HubAdapter:
    """Raises `UnsupportedHubAdapter` naming what the adapter is, and `InvalidHubConfig`."""
    if "peft_type" in content:
        raise UnsupportedHubAdapter(
            f"the folder is PEFT's ({content['peft_type']}), not AdapterHub's; bottleneck adapters alone are imported"
        )
    given = content.get("config")
    if not isinstance(given, Mapping):
        raise InvalidHubConfig("adapter_config.json has no object `config`; is it AdapterHub's?")
    fields: dict[str, Any] = {_OLD_SPELLINGS.get(str(key), str(key)): value for key, value in given.items()}
    _refuse_other_methods(fields)
    options = _options(fields)
    _refuse_options(options)
    version_1 = "version" not in content
    try:
        config = _config(options, fields.get("invertible_adapter"), version_1=version_1)
    except InvalidConfig as error:
        raise InvalidHubConfig(f"adapter_config.json: {error}") from error
    return HubAdapter(
        name=_name(content),
        kind=_KINDS.get(content.get("type")),
        family=_family(content),
        model_name=_optional(content, "model_name", str),
        hidden_size=_optional(content, "hidden_size", int),
        version=_optional(content, "version", str),
        dropout=_number(options, "dropout"),
        config=config,
    )


def _name(content: Json) -> str:
    name = content.get("name")
    if not isinstance(name, str) or not name or "." in name:
        raise InvalidHubConfig(f"adapter_config.json: {name!r} names no adapter")
    return name


def _family(content: Json) -> Family:
    family = content.get("model_type")
    if family not in FAMILIES:
        supported = ", ".join(sorted(FAMILIES))
        raise UnsupportedHubAdapter(f"the adapter is for a model of type {family!r}; supported are {supported}")
    return cast(Family, family)


def _optional(content: Json, key: str, kind: type) -> Any:
    value = content.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidHubConfig(f"adapter_config.json: {key} is {value!r}, not of type {kind.__name__}")
    return value


def _refuse_other_methods(fields: Json) -> None:
    architecture = fields.get("architecture")
    if architecture is None:
        return
    what = _ARCHITECTURES.get(architecture, f"the architecture {architecture!r}")
    if architecture == "lora" and fields.get("composition_mode") == "scale":
        what = "(IA)³"
    raise UnsupportedHubAdapter(f"the adapter is {what}; bottleneck adapters alone are imported")


def _options(fields: Json) -> dict[str, Any]:
    """Known options with defaults filled in. An unknown key may stand where it says nothing: null or false."""
    options = dict(DEFAULTS)
    for key, value in fields.items():
        if key in DEFAULTS or key in _REQUIRED:
            options[key] = value
        elif key not in WITHOUT_EFFECT and key not in ("architecture", "invertible_adapter") and value:
            raise UnsupportedHubAdapter(f"the option {key} = {value!r} is not known here, so it cannot be computed")
    for key in _REQUIRED:
        if options.get(key) is None:
            raise InvalidHubConfig(f"adapter_config.json: config.{key} is missing")
    for key in _FLAGS:
        if not isinstance(options[key], bool):
            raise InvalidHubConfig(f"adapter_config.json: config.{key} is {options[key]!r}, not true or false")
    return options


def _refuse_options(options: Json) -> None:
    inverse, scaling, residual = options["inv_adapter"], options["scaling"], options["residual_before_ln"]
    reasons = (
        (options["phm_layer"], "a Compacter adapter (phm_layer)"),
        (options["is_parallel"], "a parallel adapter (is_parallel)"),
        (options["mh_adapter"] and options["output_adapter"], "a Houlsby adapter (mh_adapter and output_adapter)"),
        (options["mh_adapter"], "an adapter in the attention blocks alone (mh_adapter)"),
        (not options["output_adapter"], "an adapter without bottlenecks (output_adapter is false)"),
        (options["ln_before"] or options["ln_after"], "an adapter with LayerNorms of its own (ln_before, ln_after)"),
        (not options["original_ln_after"], "an adapter without the layer's last LayerNorm (original_ln_after)"),
        (options["use_gating"], "an adapter with a gate (use_gating)"),
        (options["cross_adapter"], "an adapter for the cross attention of decoders (cross_adapter)"),
        (isinstance(scaling, str), f"an adapter with {scaling} scaling"),
        (inverse not in (None, "nice"), f"an adapter whose invertible adapter is {inverse}"),
        (options["stochastic_depth"], "an adapter with stochastic depth"),
        (
            # Without the LayerNorm before it both places of the residual are one.
            residual is not True and (residual is not False or options["original_ln_before"]),
            f"an adapter with residual_before_ln = {residual!r}",
        ),
    )
    for refused, what in reasons:
        if refused:
            raise UnsupportedHubAdapter(f"the folder holds {what}, which is not supported")


def _config(options: Json, of_version_1: Any, *, version_1: bool) -> AdapterConfig:
    non_linearity = _activation(options["non_linearity"], version_1=version_1)
    return AdapterConfig(
        reduction=_reduction(options["reduction_factor"]),
        non_linearity=non_linearity,
        scaling=_number(options, "scaling"),
        original_ln_before=options["original_ln_before"],
        leave_out=_layers(options["leave_out"]),
        invertible=_invertible(options, of_version_1, non_linearity, version_1=version_1),
    )


def _invertible(options: Json, of_version_1: Any, outer: Activation, *, version_1: bool) -> InvertibleConfig | None:
    """Version 1 gave the invertible adapter a non-linearity of its own, which its weights were trained with."""
    if isinstance(of_version_1, Mapping):
        block_type, reduction = of_version_1.get("block_type"), of_version_1.get("reduction_factor")
        if block_type != "nice":
            raise UnsupportedHubAdapter(f"the invertible adapter is {block_type}; nice alone is supported")
        inner = of_version_1.get("non_linearity")
        own = outer if inner is None else _activation(inner, version_1=version_1)
        return InvertibleConfig(reduction=_reduction(reduction), non_linearity=own)
    if of_version_1:
        raise InvalidHubConfig("adapter_config.json: config.invertible_adapter is no object")
    if options["inv_adapter"] is None:
        return None
    return InvertibleConfig(reduction=_reduction(options["inv_adapter_reduction_factor"]), non_linearity=outer)


def _activation(name: Any, *, version_1: bool) -> Activation:
    if not isinstance(name, str):
        raise InvalidHubConfig(f"adapter_config.json: the non-linearity is {name!r}, not a name")
    known = (_ACTIVATIONS_OF_VERSION_1.get(name, name) if version_1 else name).lower()
    if known not in _ACTIVATIONS:
        raise UnsupportedHubAdapter(
            f"the non-linearity {name!r} is not supported; supported: {', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[known]


def hub_activation(name: object) -> Activation | None:
    """A head's activation function, which no version renamed; None where it is not supported."""
    return _ACTIVATIONS.get(name.lower()) if isinstance(name, str) else None


def _reduction(value: Any) -> float:
    if isinstance(value, Mapping):
        factors = set(value.values())
        if len(factors) != 1:
            raise UnsupportedHubAdapter("the reduction factor differs by layer, which is not supported")
        value = factors.pop()
    return _number({"reduction_factor": value}, "reduction_factor")


def _number(options: Json, key: str) -> float:
    value = options[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidHubConfig(f"adapter_config.json: config.{key} is {value!r}, not a number")
    return float(value)


def _layers(value: Any) -> tuple[int, ...]:
    layers = [] if value is None else value
    if not isinstance(layers, list) or any(isinstance(one, bool) or not isinstance(one, int) for one in layers):
        raise InvalidHubConfig("adapter_config.json: config.leave_out is no list of layer numbers")
    return tuple(sorted(set(cast(list[int], layers))))
