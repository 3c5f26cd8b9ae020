"""Folders of older versions, of bare encoders and of static models, against what `adapters` makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapters
import pytest
import torch
import transformers
from adapters import SeqBnConfig, SeqBnInvConfig
from adapters.methods.modeling import Activation_Function_Class

from glossa.adapterhub.bin_weights import bin_bytes, read_bin
from madx.plan import RowStack
from tests.interop.hub_door import BACKBONE_HEAD, LABELS, Door, Imported, add, open_door
from tests.interop.oracle import Oracle, assert_close, assert_differs, randomise

VERSION_1 = {
    ".attention.output.adapters.": ".attention.output.attention_text_{kind}_adapters.",
    ".output.adapters.": ".output.layer_text_{kind}_adapters.",
    ".invertible_adapters.": ".invertible_lang_adapters.",
}
NEWER_KEYS = ("init_weights", "init_weights_seed", "scaling", "use_gating", "is_parallel", "cross_adapter", "dropout")


@pytest.fixture
def door(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    return open_door(oracle, tmp_path, monkeypatch)


def rewrite_weights(folder: Path, rename: Callable[[str], str]) -> None:
    path = folder / "pytorch_adapter.bin"
    path.write_bytes(bin_bytes({rename(name): tensor for name, tensor in read_bin(path).items()}))


def rewrite_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "adapter_config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def as_version_1(folder: Path, kind: str, **options: Any) -> Path:
    """A folder that `adapters` wrote, rewritten as its version 1 did: names, keys, no version."""

    def rename(name: str) -> str:
        for new, old in VERSION_1.items():
            name = name.replace(new, old.format(kind=kind))
        return name

    def change(content: dict[str, Any]) -> None:
        config = content["config"]
        for key in [*config]:
            if key in NEWER_KEYS or key.startswith(("inv_", "phm_", "factorized", "shared", "learn", "hyper", "stoch")):
                del config[key]
        config.update(attention_type=None, new_attention_norm=None, **options)
        del content["version"]
        content.update(type=f"text_{kind}", config_id="ba54af8d6f8f70ac")

    rewrite_weights(folder, rename)
    rewrite_config(folder, change)
    return folder


def invertible(non_linearity: str, reduction: int = 2) -> dict[str, Any]:
    return {"block_type": "nice", "non_linearity": non_linearity, "reduction_factor": reduction}


def loaded_by_them(door: Door, folder: Path) -> str:
    name = f"loaded-{folder.name}-{len(door.oracle.model.adapters_config.adapters)}"
    door.oracle.model.load_adapter(str(folder), load_as=name)
    door.oracle.model.eval()
    return name


def compare_language(door: Door, imported: Imported, name: str) -> None:
    rows = door.oracle.rows([1, 12, 40], seed=7)
    stacks = [RowStack(language=imported.slot)] * 3
    for row, hidden, logits in zip(
        rows, door.oracle.our_hidden(rows, stacks), door.oracle.our_logits(rows, stacks), strict=True
    ):
        assert_close(hidden, door.oracle.their_hidden(row, (name,)))
        assert_close(logits, door.oracle.their_logits(row, (name,), BACKBONE_HEAD))


@pytest.mark.parametrize(
    ("written", "runs"), [("relu", "relu"), ("gelu", "gelu_new"), ("gelu_orig", "gelu"), ("swish", "silu")]
)
def test_version_1_language_adapter(door: Door, written: str, runs: str) -> None:
    name = add(door.oracle, SeqBnInvConfig(reduction_factor=2))
    folder = as_version_1(
        door.saved(name, "bin"), "lang", non_linearity=written, invertible_adapter=invertible(written)
    )
    imported = door.take_in(folder, "lang", "--language", "sw")
    assert imported.version.manifest.config.non_linearity == runs
    compare_language(door, imported, loaded_by_them(door, folder))


def test_the_inverse_keeps_the_non_linearity_it_was_trained_with(door: Door) -> None:
    """Version 1 ran the inverse by its own setting; `adapters` runs the bottlenecks' in it."""
    name = add(door.oracle, SeqBnInvConfig(reduction_factor=2))
    folder = as_version_1(door.saved(name, "bin"), "lang", non_linearity="gelu", invertible_adapter=invertible("relu"))
    imported = door.take_in(folder, "lang", "--language", "sw")
    assert any("keeps the relu" in note for note in imported.notes)
    theirs = loaded_by_them(door, folder)
    (row,) = door.oracle.rows([12], seed=7)
    ours = door.oracle.our_hidden([row], [RowStack(language=imported.slot)])[0].clone()
    assert_differs(ours, door.oracle.their_hidden(row, (theirs,)))
    block = door.oracle.model.base_model.invertible_adapters[theirs]
    block.F[1] = block.G[1] = Activation_Function_Class("relu")
    compare_language(door, imported, theirs)


def test_version_1_task_adapter_that_names_an_inverse_it_never_had(door: Door) -> None:
    name = add(door.oracle, SeqBnConfig(reduction_factor=16, leave_out=[2]), head="tagging", labels=("0", *LABELS[1:]))
    folder = as_version_1(door.saved(name, "bin"), "task", non_linearity="gelu", invertible_adapter=invertible("relu"))
    imported = door.take_in(folder, "ner", "--task", "ner")
    manifest = imported.version.manifest
    assert (manifest.config.invertible, manifest.config.leave_out) == (None, (2,))
    assert manifest.head is not None
    assert manifest.head.labels == LABELS
    theirs = loaded_by_them(door, folder)
    rows = door.oracle.rows([1, 12], seed=8)
    for row, ours in zip(rows, door.oracle.our_logits(rows, [RowStack(task=imported.slot)] * 2), strict=True):
        assert_close(ours, door.oracle.their_logits(row, (theirs,), theirs))
    fresh, again = door.loaded_again(door.send_out(imported.version, "bin"), "bin")
    assert fresh.model.get_labels_dict(again) == dict(enumerate(("0", *LABELS[1:])))


def test_spelling_from_before_version_1(door: Door) -> None:
    name = add(door.oracle, SeqBnInvConfig(reduction_factor=2))
    folder = as_version_1(door.saved(name, "bin"), "lang", invertible_adapter=invertible("relu"))

    def change(content: dict[str, Any]) -> None:
        config = content["config"]
        for old in ("LN_after", "LN_before", "MH_Adapter", "Output_Adapter"):
            config[old] = config.pop(old.lower())

    rewrite_config(folder, change)
    compare_language(door, door.take_in(folder, "lang", "--language", "sw"), name)


def test_an_adapter_of_a_bare_encoder(door: Door) -> None:
    name = add(door.oracle, SeqBnInvConfig(reduction_factor=2))
    folder = door.new_folder()
    door.oracle.model.base_model.save_adapter(str(folder), name)
    assert {key.partition(".")[0] for key in read_bin(folder / "pytorch_adapter.bin")} == {
        "encoder",
        "invertible_adapters",
    }
    compare_language(door, door.take_in(folder, "lang", "--language", "sw"), name)


def test_a_head_whose_file_holds_another_of_a_longer_name(door: Door) -> None:
    name = add(door.oracle, SeqBnConfig(reduction_factor=8), head="tagging")
    door.oracle.model.add_tagging_head(name + "2", num_labels=3)
    folder = door.saved(name, "bin")
    assert any(name + "2" in key.split(".") for key in read_bin(folder / "pytorch_model_head.bin"))
    imported = door.take_in(folder, "ner", "--task", "ner")
    assert any(f"head '{name}2'" in note for note in imported.notes)
    (row,) = door.oracle.rows([12], seed=9)
    ours = door.oracle.our_logits([row], [RowStack(task=imported.slot)])[0]
    assert_close(ours, door.oracle.their_logits(row, (name,), name))


def static_model(door: Door, auto: Any, config: Any, **options: Any) -> Any:
    """A model with a head of its own, as the library's example scripts use them, and an adapter "made"."""
    model = auto.from_pretrained(door.oracle.folder, **options)
    adapters.init(model)
    model.add_adapter("made", config=config)
    own = [
        (key, it) for key, it in model.named_parameters() if "made" in key.split(".") or key.startswith("classifier")
    ]
    randomise(own, scale=0.3, seed=11)
    model.set_active_adapters("made")
    return model.eval()


def tagger(door: Door, config: Any) -> Any:
    labels = {label: number for number, label in enumerate(LABELS)}
    return static_model(
        door,
        transformers.AutoModelForTokenClassification,
        config,
        label2id=labels,
        id2label={number: label for label, number in labels.items()},
    )


@torch.no_grad()
def test_task_adapter_of_a_static_model(door: Door) -> None:
    model = tagger(door, SeqBnConfig(reduction_factor=8))
    folder = door.new_folder()
    model.save_adapter(str(folder), "made")
    assert json.loads((folder / "head_config.json").read_text())["config"] is None
    imported = door.take_in(folder, "ner", "--task", "ner")
    head = imported.version.manifest.head
    assert head is not None
    assert head.labels == LABELS
    (row,) = door.oracle.rows([12], seed=10)
    theirs = model(torch.tensor([row])).logits[0]
    assert_close(door.oracle.our_logits([row], [RowStack(task=imported.slot)])[0], theirs)
    fresh, again = door.loaded_again(door.send_out(imported.version, "bin"), "bin")
    assert_close(fresh.their_logits(row, (again,), again), theirs)


def test_a_static_models_task_head_in_a_language_adapters_folder_stays_behind(door: Door) -> None:
    folder = door.new_folder()
    tagger(door, SeqBnInvConfig(reduction_factor=2)).save_adapter(str(folder), "made")
    imported = door.take_in(folder, "lang", "--language", "sw")
    assert imported.version.manifest.head is None
    assert any("tagging head" in note for note in imported.notes)
    name = f"of-static-{len(door.oracle.model.adapters_config.adapters)}"
    door.oracle.model.load_adapter(str(folder), load_as=name, with_head=False)
    compare_language(door, imported, name)


@pytest.mark.parametrize("inverse", [False, True])
@torch.no_grad()
def test_masked_lm_head_of_a_static_model(door: Door, inverse: bool) -> None:
    """It never inverts there. Here, and where `adapters` loads it into a flexible model, it does."""
    config = SeqBnInvConfig(reduction_factor=2) if inverse else SeqBnConfig(reduction_factor=2)
    model = static_model(door, transformers.AutoModelForMaskedLM, config)
    head = [(key, it) for key, it in model.named_parameters() if key.startswith(("cls.", "lm_head."))]
    randomise([(key, it) for key, it in head if "decoder.weight" not in key], scale=0.3, seed=12)
    folder = door.new_folder()
    model.save_adapter(str(folder), "made")
    imported = door.take_in(folder, "lang", "--language", "sw")
    assert imported.version.manifest.head is not None
    assert any("never inverts" in note for note in imported.notes) == inverse
    (row,) = door.oracle.rows([12], seed=10)
    ours = door.oracle.our_logits([row], [RowStack(language=imported.slot)])[0]
    theirs = model(torch.tensor([row])).logits[0]
    (assert_differs if inverse else assert_close)(ours, theirs)
    fresh, again = door.loaded_again(door.send_out(imported.version, "bin"), "bin")
    assert_close(ours, fresh.their_logits(row, (again,), again))
