"""AdapterHub's adapter_config.json read and written: what it means, and what is refused by which name."""

from collections.abc import Mapping
from typing import Any

import pytest

from madx.adapterhub.config import read_adapter_config
from madx.adapterhub.errors import InvalidHubConfig, NotExpressible, UnsupportedHubAdapter
from madx.adapterhub.writing import write_adapter_config
from madx.config import AdapterConfig, InvertibleConfig, language_config, task_config
from tests.support.hub_folders import BACKBONE, CONFIG, TASK, adapter_config

NICE_OF_VERSION_1 = {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}


def without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def version_1(**options: Any) -> dict[str, Any]:
    """As published in 2020, with the keys of that time."""
    config = {
        "adapter_residual_before_ln": False,
        "attention_type": None,
        "invertible_adapter": NICE_OF_VERSION_1,
        "leave_out": [11],
        "ln_after": False,
        "ln_before": False,
        "mh_adapter": False,
        "new_attention_norm": None,
        "non_linearity": "gelu",
        "original_ln_after": True,
        "original_ln_before": True,
        "output_adapter": True,
        "reduction_factor": 16,
        "residual_before_ln": True,
    }
    top = {"config": config | options, "config_id": "ba54af8d6f8f70ac", "type": "text_task"}
    return without(adapter_config("ner"), "version") | top


def test_a_published_language_adapter() -> None:
    read = read_adapter_config(adapter_config("hi"))
    assert read.config == language_config()
    assert (read.name, read.kind, read.family, read.hidden_size) == ("hi", None, "xlm-roberta", 32)
    assert (read.model_name, read.version, read.dropout) == ("xlm-roberta-base", "0.2.0", 0.0)


def test_a_published_task_adapter_of_version_1() -> None:
    read = read_adapter_config(version_1())
    assert (read.name, read.kind, read.version) == ("ner", "task", None)
    assert read.config == AdapterConfig(
        reduction=16.0, non_linearity="gelu_new", leave_out=(11,), invertible=InvertibleConfig(non_linearity="relu")
    )


@pytest.mark.parametrize(
    ("written", "with_version", "without_version"),
    [("gelu", "gelu", "gelu_new"), ("relu", "relu", "relu"), ("swish", "silu", "silu"), ("tanh", "tanh", "tanh"),
     ("GELU_new", "gelu_new", "gelu_new"), ("gelu_pytorch_tanh", "gelu_new", "gelu_new")],
)  # fmt: skip
def test_gelu_is_renamed_where_there_is_no_version(written: str, with_version: str, without_version: str) -> None:
    content = adapter_config(non_linearity=written)
    for file, expected in ((content, with_version), (without(content, "version"), without_version)):
        config = read_adapter_config(file).config
        assert config.non_linearity == expected
        assert config.invertible is not None
        assert config.invertible.non_linearity == expected


def test_the_inverse_of_version_1_has_a_non_linearity_of_its_own() -> None:
    for inner, expected in (("relu", "relu"), ("gelu", "gelu_new"), ("gelu_orig", "gelu"), (None, "tanh")):
        nested = NICE_OF_VERSION_1 | {"non_linearity": inner, "reduction_factor": 4}
        config = read_adapter_config(version_1(invertible_adapter=nested, non_linearity="tanh")).config
        assert config.invertible == InvertibleConfig(reduction=4.0, non_linearity=expected)  # type: ignore[arg-type]


def test_spellings_from_before_version_1() -> None:
    content = version_1()
    for old in ("LN_after", "LN_before", "MH_Adapter", "Output_Adapter"):
        content["config"][old] = content["config"].pop(old.lower())
    assert read_adapter_config(content) == read_adapter_config(version_1())


def test_missing_keys_mean_what_the_library_takes_them_for() -> None:
    few = {"mh_adapter": False, "output_adapter": True, "reduction_factor": 16, "non_linearity": "relu"}
    config = read_adapter_config(adapter_config() | {"config": few}).config
    assert config == AdapterConfig(reduction=16.0, original_ln_before=False)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"leave_out": [3, 1, 3]}, {"leave_out": (1, 3)}),
        ({"leave_out": None}, {"leave_out": ()}),
        ({"scaling": 4}, {"scaling": 4.0}),
        ({"reduction_factor": 1.5}, {"reduction": 1.5}),
        ({"reduction_factor": {"1": 8, "default": 8}}, {"reduction": 8.0}),
        ({"original_ln_before": False, "residual_before_ln": False}, {"original_ln_before": False}),
        ({"adapter_residual_before_ln": True, "phm_dim": 8, "init_weights": "mam_adapter"}, {}),
        ({"something_new": False, "something_else": None}, {}),
    ],
)
def test_options(option: dict[str, Any], expected: Mapping[str, Any]) -> None:
    config = read_adapter_config(adapter_config(**option)).config
    for field, value in expected.items():
        assert getattr(config, field) == value


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"architecture": "lora", "r": 8}, "is LoRA"),
        ({"architecture": "lora", "composition_mode": "scale"}, r"is \(IA\)³"),
        ({"architecture": "prefix_tuning"}, "is prefix tuning"),
        ({"architecture": "prompt_tuning"}, "is prompt tuning"),
        ({"architecture": "reft"}, "is ReFT"),
        ({"architecture": "union", "configs": []}, "a union of several methods"),
        ({"architecture": "tomorrow"}, "the architecture 'tomorrow'"),
        ({"mh_adapter": True}, "a Houlsby adapter"),
        ({"mh_adapter": True, "output_adapter": False}, "in the attention blocks alone"),
        ({"output_adapter": False}, "without bottlenecks"),
        ({"is_parallel": True}, "a parallel adapter"),
        ({"phm_layer": True}, "a Compacter adapter"),
        ({"ln_before": True}, "LayerNorms of its own"),
        ({"ln_after": True}, "LayerNorms of its own"),
        ({"use_gating": True}, "with a gate"),
        ({"original_ln_after": False}, "without the layer's last LayerNorm"),
        ({"cross_adapter": True}, "cross attention"),
        ({"scaling": "learned"}, "learned scaling"),
        ({"scaling": "channel"}, "channel scaling"),
        ({"residual_before_ln": "post_add"}, "residual_before_ln = 'post_add'"),
        ({"residual_before_ln": False}, "residual_before_ln = False"),
        ({"inv_adapter": "glow"}, "invertible adapter is glow"),
        ({"invertible_adapter": NICE_OF_VERSION_1 | {"block_type": "glow"}}, "invertible adapter is glow"),
        ({"stochastic_depth": 0.1}, "stochastic depth"),
        ({"non_linearity": "leakyrelu"}, "non-linearity 'leakyrelu'"),
        ({"reduction_factor": {"0": 8, "default": 16}}, "differs by layer"),
        ({"something_new": 3}, "the option something_new = 3"),
    ],
)
def test_what_the_network_does_not_compute_is_refused_by_name(option: dict[str, Any], says: str) -> None:
    with pytest.raises(UnsupportedHubAdapter, match=says):
        read_adapter_config(adapter_config(**option))


def test_other_models_and_other_libraries_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedHubAdapter, match="model of type 'gpt2'"):
        read_adapter_config(adapter_config(top={"model_type": "gpt2"}))
    with pytest.raises(UnsupportedHubAdapter, match=r"is PEFT's \(LORA\)"):
        read_adapter_config({"peft_type": "LORA", "r": 8})


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"config": "pfeiffer"},
        adapter_config(top={"name": None}),
        adapter_config(top={"name": "a.b"}),
        adapter_config(top={"hidden_size": "32"}),
        adapter_config(top={"hidden_size": True}),
        adapter_config(reduction_factor=None),
        adapter_config(reduction_factor="16"),
        adapter_config(reduction_factor=0),
        adapter_config(reduction_factor=-2),
        adapter_config(reduction_factor=True),
        adapter_config(non_linearity=None),
        adapter_config(non_linearity=3),
        adapter_config(mh_adapter="no"),
        adapter_config(leave_out="11"),
        adapter_config(leave_out=[1.5]),
        adapter_config(leave_out=[-1]),
        adapter_config(dropout="some"),
        adapter_config(scaling=float("inf")),
        adapter_config(inv_adapter_reduction_factor=None),
        adapter_config(invertible_adapter=["nice"]),
        adapter_config(invertible_adapter={"block_type": "nice"}),
    ],
)
def test_a_broken_configuration_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(InvalidHubConfig, match=r"adapter_config\.json"):
        read_adapter_config(content)


@pytest.mark.parametrize(
    "config",
    [
        language_config(),
        language_config(invertible=False, leave_out=(0, 11)),
        task_config(leave_out=(11,)),
        AdapterConfig(
            reduction=1.5,
            non_linearity="silu",
            scaling=0.5,
            original_ln_before=False,
            invertible=InvertibleConfig(reduction=4.0, non_linearity="silu"),
        ),
    ],
)
def test_what_is_written_is_read(config: AdapterConfig) -> None:
    content = write_adapter_config(config, name="sw", backbone=BACKBONE, model_name="xlm-roberta-base", dropout=0.1)
    read = read_adapter_config(content)
    assert (read.config, read.name, read.dropout) == (config, "sw", 0.1)
    assert content["config"].keys() >= CONFIG.keys()
    assert content["model_class"] == "XLMRobertaAdapterModel"


def test_a_published_configuration_is_written_as_it_was() -> None:
    for options in ({}, TASK):
        given = adapter_config("hi", **options)
        config = read_adapter_config(given).config
        written = write_adapter_config(config, name="hi", backbone=BACKBONE, model_name="xlm-roberta-base")
        newer = {"init_weights_seed": None, "stochastic_depth": 0.0}
        assert written == given | {"config": given["config"] | newer, "version": "adapters.1.3.0"}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (AdapterConfig(placement="houlsby"), "houlsby"),
        (AdapterConfig(non_linearity="gelu", invertible=InvertibleConfig()), "one non-linearity for both"),
    ],
)
def test_what_the_format_has_no_words_for(config: AdapterConfig, says: str) -> None:
    with pytest.raises(NotExpressible, match=says):
        write_adapter_config(config, name="sw", backbone=BACKBONE, model_name="x")
