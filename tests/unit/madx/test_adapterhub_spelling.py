"""Older spellings of AdapterHub's tensor names, and files that hold more than one adapter or head."""

import pytest

from madx.adapterhub.errors import UnsupportedHubAdapter
from madx.adapterhub.heads import read_head_config
from madx.adapterhub.names import HubNaming, hub_names
from madx.adapterhub.spelling import choose_adapter, choose_head, has_inverse, layers_of
from madx.config import Family, language_config
from tests.support.hub_folders import BACKBONE, head_config

SW = HubNaming(family="xlm-roberta", adapter="sw", head="sw")
TODAY = {name: name for name in hub_names(language_config(), None, BACKBONE, SW).values()}


def version_1(name: str) -> str:
    name = name.replace(".output.adapters.", ".output.layer_text_lang_adapters.")
    return name.replace("invertible_adapters", "invertible_lang_adapters")


def test_todays_names_stay() -> None:
    chosen = choose_adapter(TODAY, SW)
    assert (chosen.tensors, chosen.others) == (TODAY, ())
    assert layers_of(TODAY) == set(range(12))
    assert has_inverse(TODAY)
    assert not has_inverse({name: name for name in TODAY if "invertible" not in name})


def test_names_of_version_1_and_of_bare_encoders() -> None:
    old = {version_1(name): name for name in TODAY}
    assert len(old.keys() & TODAY.keys()) == 0
    bare = {name.removeprefix("roberta."): name for name in TODAY}
    for written in (old, bare):
        assert choose_adapter(written, SW).tensors == TODAY


def test_names_of_the_attention_site() -> None:
    old = "bert.encoder.layer.0.attention.output.attention_text_task_adapters.de.adapter_up.bias"
    naming = HubNaming(family="bert", adapter="de", head="de")
    (found,) = choose_adapter({old: 1}, naming).tensors
    assert found == "bert.encoder.layer.0.attention.output.adapters.de.adapter_up.bias"


def test_other_adapters_in_the_file_are_skipped_and_named() -> None:
    others = {name.replace(".sw.", ".swa."): name for name in TODAY}
    chosen = choose_adapter(TODAY | others, SW)
    assert (chosen.tensors, chosen.others) == (TODAY, ("swa",))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("roberta.encoder.layer.0.output.adapter_fusion_layer.a,b.query.weight", "AdapterFusion"),
        ("roberta.encoder.layer.0.attention.self.query.loras.sw.lora_A", "LoRA"),
        ("roberta.encoder.layer.0.attention.self.prefix_tuning.prefix_tunings.sw.wte.weight", "prefix tuning"),
        ("roberta.prompt_tuning.prompt_tunings.sw.prompt_embedding.weight", "prompt tuning"),
    ],
)
def test_tensors_of_other_methods_are_refused_by_name(name: str, method: str) -> None:
    with pytest.raises(UnsupportedHubAdapter, match=method):
        choose_adapter(TODAY | {name: name}, SW)


def test_heads_of_longer_names_are_skipped() -> None:
    head = read_head_config(head_config("ner"))
    naming = HubNaming(family="bert", adapter="ner", head="ner")
    own = {"heads.ner.1.weight": 1, "heads.ner.1.bias": 2}
    chosen = choose_head(own | {"heads.ner2.1.weight": 3, "heads.ner2.1.bias": 4}, head, naming)
    assert (chosen.tensors, chosen.others) == (own, ("ner2",))


@pytest.mark.parametrize(
    ("family", "places"),
    [
        ("bert", ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")),
        ("roberta", ("lm_head.dense", "lm_head.layer_norm", "lm_head")),
        ("xlm-roberta", ("lm_head.dense", "lm_head.layer_norm", "lm_head")),
    ],
)
def test_a_static_masked_lm_head_gets_a_flexible_ones_names(family: Family, places: tuple[str, str, str]) -> None:
    dense, norm, last = places
    head = read_head_config({"config": None, "model_class": "BertForMaskedLM"})
    naming = HubNaming(family=family, adapter="eu", head="eu")
    written = {f"{dense}.weight": 1, f"{dense}.bias": 2, f"{norm}.weight": 3, f"{norm}.bias": 4}
    written |= {f"{last}.bias": 5, f"{last}.decoder.weight": 6}
    tensors = choose_head(written, head, naming).tensors
    assert tensors == {
        "heads.eu.0.weight": 1, "heads.eu.0.bias": 2, "heads.eu.2.weight": 3, "heads.eu.2.bias": 4,
        "heads.eu.3.bias": 5, "heads.eu.3.weight": 6,
    }  # fmt: skip
    assert naming.tied_decoder in tensors
    assert naming.tensor("head.bias") in tensors


def test_a_static_tagger_gets_a_flexible_ones_names() -> None:
    head = read_head_config({"config": None, "model_class": "BertForTokenClassification"})
    naming = HubNaming(family="bert", adapter="ner", head="ner")
    tensors = choose_head({"classifier.weight": 1, "classifier.bias": 2}, head, naming).tensors
    named = {naming.tensor(f"head.layers.0.{kind}") for kind in ("weight", "bias")}
    assert tensors.keys() == named
