"""The name map between AdapterHub's tensors and ours, on names written out by hand from published adapters."""

import pytest

from madx.adapterhub.names import HubNaming, from_hub, hub_names, to_hub
from madx.config import AdapterConfig, BackboneConfig, Family, HeadConfig, language_config, task_config
from madx.errors import InvalidWeights


def backbone(family: Family = "xlm-roberta") -> BackboneConfig:
    return BackboneConfig(
        family=family,
        hidden_size=32,
        num_layers=2,
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


TAGGING = HeadConfig(type="tagging", labels=("O", "B-PER"))
TAGGING_2 = HeadConfig(type="tagging", labels=("O", "B-PER"), layers=2)
MASKED_LM = HeadConfig(type="masked_lm")
NAMING = HubNaming(family="xlm-roberta", adapter="hi", head="hi-head")


def test_language_adapter_names_are_those_of_published_files() -> None:
    names = hub_names(language_config(), None, backbone(), NAMING)
    layer = "roberta.encoder.layer.1.output.adapters.hi"
    assert names["layers.1.output.down.weight"] == f"{layer}.adapter_down.0.weight"
    assert names["layers.1.output.up.bias"] == f"{layer}.adapter_up.bias"
    assert names["invertible.F.down.weight"] == "roberta.invertible_adapters.hi.F.0.weight"
    assert names["invertible.G.up.bias"] == "roberta.invertible_adapters.hi.G.2.bias"
    assert len(names) == len(set(names.values())) == 2 * 4 + 8


def test_bert_prefix_and_houlsby_attention_site() -> None:
    naming = HubNaming(family="bert", adapter="de", head="de")
    names = hub_names(AdapterConfig(placement="houlsby"), None, backbone("bert"), naming)
    attention = "bert.encoder.layer.0.attention.output.adapters.de.adapter_up.weight"
    assert names["layers.0.attention.up.weight"] == attention
    assert names["layers.0.output.up.weight"] == "bert.encoder.layer.0.output.adapters.de.adapter_up.weight"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (TAGGING, ["heads.hi-head.1.weight", "heads.hi-head.1.bias"]),
        (TAGGING_2, [f"heads.hi-head.{place}.{kind}" for place in (1, 4) for kind in ("weight", "bias")]),
        (MASKED_LM, [f"heads.hi-head.{tail}" for tail in ("0.weight", "0.bias", "2.weight", "2.bias", "3.bias")]),
    ],
)
def test_head_names(head: HeadConfig, expected: list[str]) -> None:
    names = hub_names(task_config(), head, backbone(), NAMING)
    assert [theirs for ours, theirs in names.items() if ours.startswith("head.")] == expected


def test_left_out_layers_have_no_names() -> None:
    names = hub_names(task_config(leave_out=(1,)), None, backbone(), NAMING)
    assert {name.split(".")[1] for name in names} == {"0"}


@pytest.mark.parametrize("head", [None, TAGGING, TAGGING_2, MASKED_LM])
def test_there_and_back_is_the_same(head: HeadConfig | None) -> None:
    config = language_config()
    ours = {name: f"tensor {name}" for name in hub_names(config, head, backbone(), NAMING)}
    theirs = to_hub(ours, config=config, head=head, backbone=backbone(), naming=NAMING, word_embeddings="embeddings")
    assert from_hub(theirs, config=config, head=head, backbone=backbone(), naming=NAMING) == ours
    assert ("embeddings" in theirs.values()) == (head == MASKED_LM)


def test_missing_and_unknown_tensors_are_refused() -> None:
    config = task_config()
    names = hub_names(config, TAGGING, backbone(), NAMING)
    theirs = dict.fromkeys(names.values(), "tensor")
    lost = theirs.copy()
    del lost["heads.hi-head.1.bias"]
    with pytest.raises(InvalidWeights, match=r"lacks heads\.hi-head\.1\.bias;"):
        from_hub(lost, config=config, head=TAGGING, backbone=backbone(), naming=NAMING)
    with pytest.raises(InvalidWeights, match=r"has unknown prefix_tuning"):
        from_hub(theirs | {"prefix_tuning": "x"}, config=config, head=TAGGING, backbone=backbone(), naming=NAMING)
    with pytest.raises(InvalidWeights, match=r"has unknown heads\.hi-head\.3\.weight"):
        from_hub(theirs | {NAMING.tied_decoder: "x"}, config=config, head=TAGGING, backbone=backbone(), naming=NAMING)
    naming = HubNaming(family="bert", adapter="hi", head="hi-head")
    with pytest.raises(InvalidWeights, match=r"lacks bert\.encoder.* and 7 more"):
        from_hub(theirs | {}, config=config, head=TAGGING, backbone=backbone("bert"), naming=naming)


def test_exporting_refuses_unknown_tensors_and_a_masked_lm_head_without_embeddings() -> None:
    config = language_config()
    ours = dict.fromkeys(hub_names(config, MASKED_LM, backbone(), NAMING), "tensor")
    with pytest.raises(InvalidWeights, match="word embeddings"):
        to_hub(ours, config=config, head=MASKED_LM, backbone=backbone(), naming=NAMING)
    with pytest.raises(InvalidWeights, match="has unknown surprise"):
        to_hub(ours | {"surprise": "x"}, config=config, head=MASKED_LM, backbone=backbone(), naming=NAMING)
    with pytest.raises(InvalidWeights, match=r"lacks invertible.* and 15 more"):
        to_hub({}, config=config, head=None, backbone=backbone(), naming=NAMING)
