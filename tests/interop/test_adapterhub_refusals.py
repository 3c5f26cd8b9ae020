"""What `adapters` can save and the network here cannot run: each kind is refused by its name, and nothing is kept."""

from pathlib import Path
from typing import Any

import pytest
from adapters import AdapterPlusConfig, AutoAdapterModel, SeqBnConfig, SeqBnInvConfig
from adapters.composition import Fuse, Stack

from glossa.adapterhub.errors import ImportUnclear, NotAHubFolder
from madx.adapterhub.errors import UnsupportedHubAdapter, UnsupportedHubHead
from tests.interop.hub_door import Door, open_door
from tests.interop.oracle import Oracle


@pytest.fixture
def door(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    return open_door(oracle, tmp_path, monkeypatch)


@pytest.fixture
def model(door: Door) -> Any:
    """A model of its own, because some methods change what all of a model's adapters do."""
    return AutoAdapterModel.from_pretrained(door.oracle.folder).eval()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("double_seq_bn", "a Houlsby adapter"),
        ("par_bn", "a parallel adapter"),
        ("scaled_par_bn", "a parallel adapter"),
        ("compacter[reduction_factor=4]", "a Compacter adapter"),
        ("compacter++[reduction_factor=4]", "a Compacter adapter"),
        ("lora", "is LoRA"),
        ("ia3", r"is \(IA\)³"),
        ("prefix_tuning", "is prefix tuning"),
        ("prompt_tuning", "is prompt tuning"),
        ("loreft", "is ReFT"),
        ("mam", "a union of several methods"),
        ("unipelt", "a union of several methods"),
        (AdapterPlusConfig(reduction_factor=4, stochastic_depth=0.0, original_ln_after=True), "channel scaling"),
        (SeqBnConfig(reduction_factor=4, use_gating=True), "with a gate"),
        (SeqBnConfig(reduction_factor=4, scaling="learned"), "learned scaling"),
        (SeqBnConfig(reduction_factor=4, ln_after=True), "LayerNorms of its own"),
        (SeqBnConfig(reduction_factor=4, residual_before_ln="post_add"), "residual_before_ln"),
        (SeqBnConfig(reduction_factor={"0": 2, "default": 4}), "differs by layer"),
        (SeqBnConfig(reduction_factor=4, non_linearity="leakyrelu"), "'leakyrelu'"),
    ],
)
def test_adapters(door: Door, model: Any, config: Any, says: str) -> None:
    model.add_adapter("made", config=config)
    folder = door.new_folder()
    model.save_adapter(str(folder), "made")
    with pytest.raises(UnsupportedHubAdapter, match=says):
        door.take_in(folder, "made", "--language", "sw")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("classification", "classification heads come with their task"),
        ("question_answering", "question_answering heads"),
        ("multiple_choice", "multiple_choice heads"),
        ("dependency_parsing", "dependency_parsing heads"),
    ],
)
def test_heads(door: Door, model: Any, head: str, says: str) -> None:
    model.add_adapter("made", config=SeqBnConfig(reduction_factor=4))
    adder = {"dependency_parsing": "add_dependency_parsing_head", "question_answering": "add_qa_head"}
    getattr(model, adder.get(head, f"add_{head}_head"))("made")
    folder = door.new_folder()
    model.save_adapter(str(folder), "made")
    for options in (("--task", "ner"), ("--task", "other")):
        with pytest.raises(UnsupportedHubHead, match=says):
            door.take_in(folder, "made", *options)


def test_setups_and_fusions(door: Door, model: Any) -> None:
    model.add_adapter("one", config=SeqBnInvConfig(reduction_factor=4))
    model.add_adapter("two", config=SeqBnConfig(reduction_factor=4))
    model.add_adapter_fusion(["one", "two"])
    setup, fusion = door.new_folder(), door.new_folder()
    model.save_adapter_setup(str(setup), Stack("one", "two"))
    model.save_adapter_fusion(str(fusion), Fuse("one", "two"))
    for folder, says in ((setup, "saved setup"), (fusion, "AdapterFusion")):
        with pytest.raises(NotAHubFolder, match=says):
            door.take_in(folder, "made", "--language", "sw")
    with pytest.raises(ImportUnclear, match="'two'"):
        door.take_in(setup / "two", "made")
    assert door.take_in(setup / "one", "made", "--language", "sw").version.reference == "made@1"
