"""`glossa import adapterhub` on folders written by hand: what is assumed, what is refused, and that nothing is lost."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from glossa.adapterhub.bin_weights import bin_bytes, read_bin
from registry import search
from registry.registry import open_registry
from tests.support.hub_folders import (
    TASK,
    adapter_config,
    adapter_tensors,
    head_config,
    head_tensors,
    write,
    write_language,
    write_task,
)
from tests.support.tiny import make_backbone

Glossa = Any
LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")


@pytest.fixture
def door(glossa: Glossa, made_folder: Path) -> Glossa:
    """`glossa`, with the backbone known."""
    assert glossa("backbones", "add", made_folder / "backbone", "--name", "xlm-roberta-base").status == 0
    return glossa


def manifest_of(door: Glossa, reference: str) -> Any:
    return json.loads(door("adapters", "show", reference, "--json").out)["manifest"]


def pulled(door: Glossa, reference: str, folder: Path) -> dict[str, torch.Tensor]:
    assert door("adapters", "pull", reference, "--output", folder).status == 0
    return safetensors.torch.load_file(folder / "adapter.safetensors")


def assert_nothing_published(home: Path) -> None:
    registry = open_registry(home)
    try:
        assert search.search_adapters(registry).items == ()
        assert list(registry.store.list()) == []
    finally:
        registry.close()


@pytest.mark.parametrize("safe", [False, True])
def test_a_language_adapter_by_its_own_name(door: Glossa, tmp_path: Path, safe: bool) -> None:
    done = door("import", "adapterhub", write_language(tmp_path / "sw", safe=safe), "--name", "hub-sw")
    assert done.status == 0
    assert done.err == "note: taken for Swahili (sw) by the adapter's name\n"
    assert done.out.startswith("hub-sw@1 published: language adapter for sw, reduction 2, relu, invertible, on xlm")
    manifest = manifest_of(door, "hub-sw")
    assert (manifest["kind"], manifest["language"], manifest["head"]) == ("language", "sw", None)
    assert manifest["backbone"]["fingerprint_source"] == "asserted"
    assert manifest["method"] == "adapterhub"
    assert manifest["hyper_parameters"]["adapterhub.name"] == "sw"
    tensors, given = pulled(door, "hub-sw", tmp_path / "pulled"), adapter_tensors()
    up = "roberta.encoder.layer.1.output.adapters.sw.adapter_up.weight"
    assert torch.equal(tensors["layers.1.output.up.weight"], given[up])
    assert torch.equal(tensors["invertible.G.down.bias"], given["roberta.invertible_adapters.sw.G.0.bias"])
    assert len(tensors) == len(given)


def test_the_same_folder_again_is_the_same_version(door: Glossa, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw")
    first = json.loads(door("import", "adapterhub", folder, "--name", "hub-sw", "--json").out)
    again = json.loads(door("import", "adapterhub", folder, "--name", "hub-sw", "--json").out)
    assert (first["created"], again["created"]) == (True, False)
    assert first["digest"] == again["digest"]
    assert first["notes"] == ["taken for Swahili (sw) by the adapter's name"]


def test_a_task_adapter_with_the_outside_tag_of_published_ones(door: Glossa, tmp_path: Path) -> None:
    done = door("import", "adapterhub", write_task(tmp_path / "ner"), "--name", "hub-ner")
    assert done.status == 0
    assert "taken for ner by its name" in done.err
    assert "--composition none" in done.err
    manifest = manifest_of(door, "hub-ner")
    assert tuple(manifest["head"]["labels"]) == LABELS
    assert manifest["composition"] == {"language": "swapped", "leave_out": []}
    assert manifest["hyper_parameters"]["adapterhub.outside_label"] == "0"
    assert door("export", "adapterhub", "hub-ner", tmp_path / "out").status == 0
    given, back = (json.loads((tmp_path / place / "head_config.json").read_text()) for place in ("ner", "out"))
    assert back["config"] == given["config"]
    assert back == given | {"version": "adapters.1.3.0"}


def test_layers_that_a_task_adapter_lacks(door: Glossa, tmp_path: Path) -> None:
    tensors = adapter_tensors("ner", reduction=16, inverse=False, layers=(0,))
    folder = write(tmp_path / "ner", adapter_config("ner", leave_out=[1], **TASK), tensors)
    write(folder, head_config(), head_tensors(), head=True)
    compositions = []
    for number, options in enumerate(
        [(), ("--leave-out", "none"), ("--leave-out", "1, 0"), ("--composition", "none"), ("--composition", "sw@2")]
    ):
        assert door("import", "adapterhub", folder, "--name", f"ner-{number}", *options).status == 0
        compositions.append(manifest_of(door, f"ner-{number}")["composition"])
    assert compositions == [
        {"language": "swapped", "leave_out": [1]},
        {"language": "swapped", "leave_out": []},
        {"language": "swapped", "leave_out": [0, 1]},
        {"language": "none", "leave_out": []},
        {"language": "sw@2", "leave_out": [1]},
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("safe", [False, True])
def test_numbers_stay_bit_for_bit_there_and_back(door: Glossa, tmp_path: Path, safe: bool, dtype: torch.dtype) -> None:
    given = {name: tensor.to(dtype) for name, tensor in adapter_tensors().items()}
    folder = write(tmp_path / "sw", adapter_config(), given, safe=safe)
    assert door("import", "adapterhub", folder, "--name", "hub-sw").status == 0
    out = tmp_path / "out"
    assert door("export", "adapterhub", "hub-sw", out, "--safetensors" if safe else "--bin").status == 0
    back = safetensors.torch.load_file(out / "adapter.safetensors") if safe else read_bin(out / "pytorch_adapter.bin")
    assert back.keys() == given.keys()
    for name, tensor in given.items():
        assert back[name].dtype == dtype
        assert torch.equal(back[name].view(torch.uint8), tensor.view(torch.uint8))


def test_stray_files_do_not_matter(door: Glossa, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw")
    for name in ("._adapter_config.json", "._pytorch_adapter.bin", "._head_config.json", ".DS_Store"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07junk")
    inside = write_language(folder / "sw-extracted")
    (inside / "head_config.json").write_text("no head of this adapter")
    assert door("import", "adapterhub", folder, "--name", "hub-sw").status == 0


def test_a_head_in_a_folder_of_its_own(door: Glossa, tmp_path: Path) -> None:
    tensors = adapter_tensors("ner", reduction=16, inverse=False)
    folder = write(tmp_path / "ner", adapter_config("ner", **TASK), tensors)
    write(folder / "head", head_config("tags"), head_tensors("tags"), head=True)
    assert door("import", "adapterhub", folder, "--name", "hub-ner").status == 0
    write(folder / "other", head_config("tags"), head_tensors("tags"), head=True)
    done = door("import", "adapterhub", folder, "--name", "hub-ner")
    assert "several heads (head, other)" in done.err


def test_both_kinds_of_file_side_by_side(door: Glossa, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw", safe=True)
    (folder / "pytorch_adapter.bin").write_bytes(b"never read")
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert done.status == 0
    assert "adapter.safetensors was read, pytorch_adapter.bin was not" in done.err


def add_masked_lm(folder: Path, backbone: Path, *, change: float = 0.0) -> None:
    """A head whose file repeats the backbone's word embeddings, as they are or slightly changed."""
    stored = safetensors.torch.load_file(backbone / "model.safetensors")
    decoder = stored["roberta.embeddings.word_embeddings.weight"].clone()
    decoder[3, 4] += change
    shapes = {"0.weight": (32, 32), "0.bias": (32,), "2.weight": (32,), "2.bias": (32,), "3.bias": (len(decoder),)}
    tensors = {f"heads.sw.{name}": torch.ones(shape) for name, shape in shapes.items()}
    build = {"head_type": "masked_lm", "layers": 2, "activation_function": "gelu", "layer_norm": True, "bias": True}
    build |= {"vocab_size": len(decoder), "embedding_size": 32, "shift_labels": False, "label2id": None}
    content = head_config("sw", top={"config": build})
    write(folder, content, tensors | {"heads.sw.3.weight": decoder}, head=True)


def test_a_masked_lm_head_without_its_decoder(door: Glossa, tmp_path: Path, made_folder: Path) -> None:
    folder = write_language(tmp_path / "sw")
    add_masked_lm(folder, made_folder / "backbone")
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert done.status == 0
    assert "masked_lm head" in done.out
    names = {name for name in pulled(door, "hub-sw", tmp_path / "pulled") if name.startswith("head.")}
    assert names == {"head.dense.weight", "head.dense.bias", "head.norm.weight", "head.norm.bias", "head.bias"}
    assert door("export", "adapterhub", "hub-sw", tmp_path / "out").status == 0
    given, back = (read_bin(place / "pytorch_model_head.bin") for place in (folder, tmp_path / "out"))
    assert given.keys() == back.keys()
    assert all(torch.equal(given[name], back[name]) for name in given)


def test_a_masked_lm_head_over_other_embeddings(door: Glossa, home: Path, tmp_path: Path, made_folder: Path) -> None:
    folder = write_language(tmp_path / "sw")
    add_masked_lm(folder, made_folder / "backbone", change=1e-3)
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "over other word embeddings than xlm-roberta-base's" in done.err
    assert_nothing_published(home)
    assert door("import", "adapterhub", folder, "--name", "hub-sw", "--without-head").status == 0


def test_a_masked_lm_head_needs_the_backbones_weights(
    door: Glossa, tmp_path: Path, made_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_language(tmp_path / "sw")
    add_masked_lm(folder, made_folder / "backbone")
    monkeypatch.setenv("GLOSSA_BACKBONE", str(make_backbone(tmp_path / "other", seed=8)))
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert done.status == 1
    assert "set GLOSSA_BACKBONE" in done.err


def test_several_backbones_that_fit(door: Glossa, home: Path, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw")
    other = make_backbone(tmp_path / "xlm-roberta-other", seed=8)
    added = json.loads(door("backbones", "add", other, "--json").out)
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "xlm-roberta-base (" in done.err
    assert f"xlm-roberta-other ({added['fingerprint'][:12]})" in done.err
    assert_nothing_published(home)
    for choice in ("xlm-roberta-other", added["fingerprint"], added["fingerprint"][:12]):
        done = door("import", "adapterhub", folder, "--name", "hub-sw", "--backbone", choice)
        assert done.status == 0
        assert "it was made for xlm-roberta-base; xlm-roberta-other has its shape" in done.err
    assert manifest_of(door, "hub-sw")["backbone"]["fingerprint"] == added["fingerprint"]


@pytest.mark.parametrize(
    ("top", "layers", "options", "says"),
    [
        (
            {"model_type": "bert"},
            (0, 1),
            (),
            "no backbone of the registry fits the adapter (bert, 2 layers of width 32)",
        ),
        ({}, (0, 1, 2), (), "(xlm-roberta, 3 layers of width 32); add its own with `glossa backbones add xlm-roberta"),
        ({}, (0,), (), "(xlm-roberta, 1 layer of width 32)"),
        ({}, (0,), ("--backbone", "xlm-roberta-base"), "xlm-roberta-base is xlm-roberta, 2 layers of width 32"),
        ({}, (0, 1), ("--backbone", "nobody"), "no backbone 'nobody'"),
    ],
)
def test_a_backbone_that_does_not_fit(
    door: Glossa, home: Path, tmp_path: Path, top: Any, layers: tuple[int, ...], options: tuple[str, ...], says: str
) -> None:
    tensors = adapter_tensors(layers=layers)
    if top:
        tensors = {name.replace("roberta.", "bert."): tensor for name, tensor in tensors.items()}
    folder = write(tmp_path / "sw", adapter_config(top=top), tensors)
    done = door("import", "adapterhub", folder, "--name", "hub-sw", *options)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert says in done.err
    assert_nothing_published(home)


def test_what_the_folder_does_not_say_is_asked_for(door: Glossa, home: Path, tmp_path: Path) -> None:
    bare = {"inv_adapter": None, "inv_adapter_reduction_factor": None}
    nameless = write(tmp_path / "a", adapter_config("mlm", **bare), adapter_tensors("mlm", inverse=False))
    english = write(tmp_path / "b", adapter_config("english"), adapter_tensors("english"))
    unnamed = write_task(tmp_path / "c", "wikiann")
    both = write_language(tmp_path / "d")
    write(both, head_config("sw"), head_tensors("sw"), head=True)
    headless = write(tmp_path / "e", adapter_config("ner", **TASK), adapter_tensors("ner", reduction=16, inverse=False))
    for folder, options, says in [
        (nameless, (), "nothing in the folder says whether 'mlm'"),
        (english, (), "'english', is no language; give --language CODE"),
        (english, ("--language", "klingonese"), "no BCP 47"),
        (unnamed, (), "give --task TASK"),
        (unnamed, ("--task", "No Name"), "is no valid name"),
        (both, (), "nothing in the folder says whether 'sw'"),
        (both, ("--task", "ner"), "an invertible adapter of its own"),
        (headless, ("--task", "ner"), "the folder has no head"),
        (unnamed, ("--task", "ner", "--without-head"), "leave out --without-head"),
        (unnamed, ("--task", "ner", "--leave-out", "7"), "layers are 0 to 1"),
        (unnamed, ("--task", "ner", "--labels", "O,B-PER"), "head.layers.0.weight has shape"),
        (english, ("--language", "en", "--labels", "O,B-PER"), "--labels is for task adapters"),
        (english, ("--language", "en", "--composition", "none"), "--composition is for task adapters"),
    ]:
        done = door("import", "adapterhub", folder, "--name", "hub", *options)
        assert (done.status, done.err.count("\n")) == (1, 1), done
        assert says in done.err
    assert_nothing_published(home)
    assert door("import", "adapterhub", nameless, "--name", "en", "--language", "eng").status == 0
    assert door("import", "adapterhub", unnamed, "--name", "ner", "--task", "ner").status == 0
    assert manifest_of(door, "en")["language"] == "en"


def test_an_option_that_contradicts_another_is_a_usage_error(door: Glossa, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw")
    assert door("import", "adapterhub", folder, "--name", "x", "--language", "sw", "--task", "ner").status == 2
    assert door("import", "adapterhub", folder, "--name", "x", "--leave-out", "last").status == 2


def test_folders_that_are_something_else_are_named(door: Glossa, home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    setup, fusion, peft = (tmp_path / name for name in ("setup", "fusion", "peft"))
    for folder, file, content in [
        (empty, "README.md", ""),
        (setup, "adapter_setup.json", "{}"),
        (fusion, "adapter_fusion_config.json", "{}"),
        (peft, "adapter_config.json", '{"peft_type": "LORA", "r": 8}'),
    ]:
        folder.mkdir()
        (folder / file).write_text(content)
    houlsby = write_language(tmp_path / "houlsby", mh_adapter=True)
    question = write_task(tmp_path / "question", head_type="question_answering")
    for folder, says in [
        (tmp_path / "nowhere", "there is no folder"),
        (empty, "it has no adapter_config.json"),
        (setup, "a saved setup of several adapters"),
        (fusion, "AdapterFusion's"),
        (peft, "is PEFT's (LORA)"),
        (houlsby, "a Houlsby adapter"),
        (question, "question_answering heads come with their task"),
    ]:
        done = door("import", "adapterhub", folder, "--name", "hub")
        assert (done.status, done.err.count("\n")) == (1, 1), done
        assert says in done.err
    assert_nothing_published(home)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"PK\x03\x04",
        b"not a pickle at all",
        b"cposix\nsystem\n(S'touch executed'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x0b\x00\x00\x00print('hi')\x85R.",
        b"\x80\x02}.",
        b"\x80\x02]K\x01a.",
        bin_bytes({"a": 1}),  # type: ignore[dict-item]
        bin_bytes([torch.zeros(2)]),  # type: ignore[arg-type]
        bin_bytes({"a": torch.zeros(2, 2).to_sparse()}),
        bin_bytes(adapter_tensors())[:-3000],
    ],
)
def test_a_hostile_or_broken_bin_is_refused_and_runs_nothing(
    door: Glossa, home: Path, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_language(tmp_path / "sw")
    (folder / "pytorch_adapter.bin").write_bytes(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert (done.status, done.err.count("\n")) == (1, 1), done
    assert "fault of glossa" not in done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert_nothing_published(home)


def broken(tensors: dict[str, torch.Tensor], change: str) -> dict[str, torch.Tensor]:
    name = "roberta.encoder.layer.1.output.adapters.sw.adapter_up.bias"
    if change == "missing":
        del tensors[name]
    elif change == "foreign":
        tensors["roberta.pooler.dense.weight"] = torch.zeros(2)
    elif change == "shape":
        tensors[name] = torch.zeros(33)
    elif change == "endless":  # one number that claims to be a tensor of 4 TiB
        tensors[name] = torch.zeros(1).expand(1 << 40)
    elif change == "nan":
        tensors[name][3] = float("nan")
    elif change == "dtype":
        tensors[name] = tensors[name].double()
    return tensors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("missing", r"lacks roberta\.encoder\.layer\.1"),
        ("foreign", r"unknown roberta\.pooler"),
        ("shape", "shape"),
        ("endless", "shape"),
        ("nan", "not finite"),
        ("dtype", "float64"),
    ],
)
def test_wrong_tensors_are_refused(door: Glossa, home: Path, tmp_path: Path, change: str, says: str) -> None:
    folder = write(tmp_path / "sw", adapter_config(), broken(adapter_tensors(), change))
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert (done.status, done.err.count("\n")) == (1, 1), done
    assert re.search(says, done.err)
    assert_nothing_published(home)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": NaN}', "[" * 100_000, " " * (1 << 20) + "{}"])
def test_a_configuration_that_is_no_json_object(door: Glossa, tmp_path: Path, content: str) -> None:
    folder = write_language(tmp_path / "sw")
    (folder / "adapter_config.json").write_text(content)
    done = door("import", "adapterhub", folder, "--name", "hub-sw")
    assert (done.status, done.err.count("\n")) == (1, 1), done
    assert "adapter_config.json" in done.err


def test_half_a_head_is_refused(door: Glossa, tmp_path: Path) -> None:
    for lost in ("head_config.json", "pytorch_model_head.bin"):
        folder = write_task(tmp_path / lost)
        (folder / lost).unlink()
        done = door("import", "adapterhub", folder, "--name", "hub-ner")
        assert done.status == 1
        assert f"half a head: it has no {'model_head.safetensors or ' if 'bin' in lost else ''}{lost}" in done.err


def test_what_was_imported_answers(door: Glossa, tmp_path: Path) -> None:
    assert door("import", "adapterhub", write_language(tmp_path / "sw"), "--name", "hub-sw").status == 0
    assert door("import", "adapterhub", write_task(tmp_path / "ner"), "--name", "hub-ner").status == 0
    done = door("predict", "--language", "sw", "Juma anaishi Nairobi")
    assert done.status == 0
    assert "ran hub-sw@1, hub-ner@1" in done.err
    assert re.search(r"^  (PER|ORG|LOC) ", done.out, re.MULTILINE)
