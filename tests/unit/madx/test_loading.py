"""Checkpoints in and out: against `transformers` itself, and the reasons for which a folder is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from madx.config import Family
from madx.errors import BackboneUnavailable
from madx.forward import hidden_states, masked_lm_logits
from madx.loading import convert_backbone, load_backbone, save_backbone
from madx.plan import BARE
from tests.support.tiny import make_backbone

FAMILIES: tuple[Family, ...] = ("xlm-roberta", "roberta", "bert")


@pytest.mark.parametrize("family", FAMILIES)
def test_bare_backbone_equals_transformers(family: Family, tmp_path: Path) -> None:
    loaded = load_backbone(make_backbone(tmp_path, family, max_tokens=512))
    model: Any = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    generator = torch.Generator().manual_seed(1)
    lengths = [1, 512, *torch.randint(2, 512, (6,), generator=generator).tolist()]
    vocabulary = loaded.config.vocab_size
    rows = [torch.randint(5, vocabulary, (length,), generator=generator).tolist() for length in lengths]
    with torch.inference_mode():
        hidden, plan = hidden_states(loaded.backbone, {}, rows, [BARE] * len(rows))
        logits = masked_lm_logits(loaded.backbone, None, hidden)
        for place, row in enumerate(plan.order):
            expected = model(input_ids=torch.tensor([rows[row]])).logits[0]
            found = logits[plan.starts[place] : plan.starts[place] + plan.lengths[place]]
            assert (found - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())


def test_a_backbone_without_masked_lm_head_loads_without_one(tmp_path: Path) -> None:
    for family in FAMILIES:
        loaded = load_backbone(make_backbone(tmp_path / family, family, masked_lm=False))
        assert loaded.backbone.masked_lm is None


@pytest.mark.parametrize("family", FAMILIES)
def test_saving_keeps_the_fingerprint_and_transformers_reads_it(family: Family, tmp_path: Path) -> None:
    loaded = load_backbone(make_backbone(tmp_path / "a", family))
    save_backbone(loaded.backbone, loaded.tokenizer, tmp_path / "b", dtype=torch.float32)
    assert load_backbone(tmp_path / "b").fingerprint == loaded.fingerprint
    ids = torch.tensor([[2, 7, 9, 3]])
    before: Any = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "a").eval()
    after: Any = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "b").eval()
    assert torch.equal(before(input_ids=ids).logits, after(input_ids=ids).logits)


def test_shards_hold_what_one_file_does_and_take_its_place(tmp_path: Path) -> None:
    loaded = load_backbone(make_backbone(tmp_path / "a"))
    folder = tmp_path / "b"
    for shard_bytes, count in ((40_000, 2), (None, 1), (40_000, 2)):
        save_backbone(loaded.backbone, loaded.tokenizer, folder, dtype=torch.float32, shard_bytes=shard_bytes)
        files = list(folder.glob("*.safetensors"))
        assert len(files) >= count
        assert (len(files) == 1) == (shard_bytes is None) == (folder / "model.safetensors").is_file()
        assert load_backbone(folder).fingerprint == loaded.fingerprint
        assert transformers.AutoModelForMaskedLM.from_pretrained(folder).dtype == torch.float32


def test_the_fingerprint_sees_weights_tokenizer_and_arithmetic_but_not_padding(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path)
    first = load_backbone(folder).fingerprint
    tokenizer = folder / "tokenizer.json"
    fields = json.loads(tokenizer.read_text())
    fields["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    tokenizer.write_text(json.dumps(fields))
    assert load_backbone(folder).fingerprint == first
    fields["model"]["vocab"][10][1] -= 1.0
    tokenizer.write_text(json.dumps(fields))
    second = load_backbone(folder).fingerprint
    assert second != first
    config = json.loads((folder / "config.json").read_text())
    config["layer_norm_eps"] = 1e-6
    (folder / "config.json").write_text(json.dumps(config))
    third = load_backbone(folder).fingerprint
    assert third != second
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("attention.self.key.bias"))
    weights[name][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_backbone(folder).fingerprint != third


def test_loaded_weights_are_frozen_and_in_the_asked_dtype(tmp_path: Path) -> None:
    loaded = load_backbone(make_backbone(tmp_path), dtype=torch.bfloat16)
    assert all(p.dtype is torch.bfloat16 and not p.requires_grad for p in loaded.backbone.parameters())
    assert not loaded.backbone.training


def refuse(folder: Path, message: str) -> None:
    with pytest.raises(BackboneUnavailable, match=message):
        load_backbone(folder)


def test_folders_that_cannot_be_loaded_say_why(tmp_path: Path) -> None:
    refuse(tmp_path / "nowhere", "there is no folder")
    refuse(tmp_path, "no config.json")
    folder = make_backbone(tmp_path / "a")
    (folder / "tokenizer.json").rename(folder / "kept.json")
    refuse(folder, "no tokenizer.json; `glossa backbones convert")
    (folder / "kept.json").rename(folder / "tokenizer.json")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    refuse(folder, "cannot be loaded")
    weights.unlink()
    refuse(folder, r"no \*.safetensors; `glossa backbones convert")


def test_a_checkpoint_that_lacks_encoder_tensors_is_refused(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if "layer.1.output.dense.weight" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refuse(folder, "lacks 1 of the encoder's tensors, .*layer.1.output.dense.weight")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "t5"}, "cannot be loaded|not supported"),
        ({"position_embedding_type": "relative_key"}, "relative position"),
        ({"hidden_act": "mish"}, "activation 'mish'"),
        ({"is_decoder": True}, "decoder"),
        ({"tie_word_embeddings": False}, "not tied"),
    ],
)
def test_what_the_encoder_does_not_compute_is_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    folder = make_backbone(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, message)


def test_convert_writes_what_loads(tmp_path: Path) -> None:
    make_backbone(tmp_path / "a", "bert")
    convert_backbone(str(tmp_path / "a"), tmp_path / "b")
    found, given = load_backbone(tmp_path / "b"), load_backbone(tmp_path / "a")
    for name, tensor in given.backbone.stored_tensors().items():
        assert torch.equal(found.backbone.stored_tensors()[name], tensor)
    with pytest.raises(BackboneUnavailable, match="not empty"):
        convert_backbone(str(tmp_path / "a"), tmp_path / "b")


@pytest.mark.parametrize("family", FAMILIES)
def test_convert_gives_no_random_head_to_a_checkpoint_without_one(family: Family, tmp_path: Path) -> None:
    make_backbone(tmp_path / "a", family, masked_lm=False)
    convert_backbone(str(tmp_path / "a"), tmp_path / "b")
    found, given = load_backbone(tmp_path / "b"), load_backbone(tmp_path / "a")
    assert found.backbone.masked_lm is None
    assert found.fingerprint == given.fingerprint


def test_convert_refuses_a_checkpoint_that_lacks_encoder_tensors(tmp_path: Path) -> None:
    folder = make_backbone(tmp_path / "a")
    weights = load_file(folder / "model.safetensors")
    weights = {name: tensor for name, tensor in weights.items() if "layer.1.output.dense.weight" not in name}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneUnavailable, match="lacks 1 of the encoder's tensors"):
        convert_backbone(str(folder), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_folder_named_by_a_dot_gives_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_backbone(tmp_path / "village"))
    assert load_backbone(".").name == "village"
