"""Manifest and weights: what is written is what is read, and what does not fit is refused by name."""

import contextlib
import json
from pathlib import Path
from typing import Any

import langcodes
import pytest
import torch
from safetensors.torch import load, save

from madx.checkpoint import from_safetensors, to_safetensors, with_weights
from madx.config import HeadConfig, language_config
from madx.errors import InvalidConfig, InvalidManifest, InvalidWeights
from madx.loading import LoadedBackbone, load_backbone
from madx.manifest import BackboneRef, Manifest, WeightsRef, canonical_language, from_bytes, to_bytes
from tests.support.tiny import language_checkpoint, make_adapter, make_backbone


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedBackbone:
    folder: Path = make_backbone(tmp_path_factory.mktemp("backbone"))
    return load_backbone(folder)


def test_round_trip(loaded: LoadedBackbone) -> None:
    manifest_bytes, weights = language_checkpoint(loaded, "sw", head=HeadConfig(type="masked_lm"), seed=3)
    manifest = from_bytes(manifest_bytes)
    assert to_bytes(manifest) == manifest_bytes
    adapter = from_safetensors(weights, manifest, loaded.config)
    assert to_safetensors(adapter) == weights
    assert not any(parameter.requires_grad for parameter in adapter.parameters())


def test_half_precision_weights_are_read_as_float32(loaded: LoadedBackbone) -> None:
    adapter = make_adapter(loaded.config, language_config(), seed=1)
    weights = to_safetensors(adapter, dtype=torch.bfloat16)
    manifest = with_weights(from_bytes(language_checkpoint(loaded, "sw")[0]), weights)
    read = from_safetensors(weights, manifest, loaded.config)
    for name, tensor in adapter.state_dict().items():
        assert read.state_dict()[name].dtype is torch.float32
        assert torch.equal(read.state_dict()[name], tensor.bfloat16().float())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("invertible.F.up.bias"), "invertible.F.up.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(2)), "extra does not belong"),
        (lambda t: t.update({"layers.0.output.up.bias": torch.zeros(33)}), "has shape"),
        (lambda t: t["layers.0.output.up.bias"].fill_(float("nan")), "not finite"),
        (lambda t: t.update({"layers.0.output.up.bias": torch.zeros(32, dtype=torch.int64)}), "int64"),
    ],
)
def test_weights_that_do_not_fit_are_refused(damage: Any, message: str, loaded: LoadedBackbone) -> None:
    manifest_bytes, weights = language_checkpoint(loaded, "sw")
    tensors = load(weights)
    damage(tensors)
    damaged = save(tensors)
    with pytest.raises(InvalidWeights, match=message):
        from_safetensors(damaged, with_weights(from_bytes(manifest_bytes), damaged), loaded.config)


def test_weights_other_than_the_manifests_or_cut_short_are_refused(loaded: LoadedBackbone) -> None:
    manifest_bytes, weights = language_checkpoint(loaded, "sw")
    with pytest.raises(InvalidWeights, match="sha256"):
        from_safetensors(weights[:-1], from_bytes(manifest_bytes), loaded.config)
    short = weights[:100]
    with pytest.raises(InvalidWeights, match="not a readable safetensors file"):
        from_safetensors(short, with_weights(from_bytes(manifest_bytes), short), loaded.config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "kind"),
        ({"colour": "blue"}, "colour is no field"),
        ({"config": {"reduction": 2.0, "bottleneck": 3}}, r"config.bottleneck is no field"),
        ({"config": {"reduction": 0}}, "reduction"),
        ({"config": {"leave_out": [1, 0]}}, "ascending"),
        ({"composition": {"leave_out": [-1]}}, "0-based"),
        ({"language": "swa"}, "'sw'"),
        ({"language": None}, "names its language"),
        ({"task": "ner"}, "neither task nor composition"),
        ({"metrics": {"perplexity": float("inf")}}, "metrics.perplexity"),
        ({"weights": {"digest": "abc", "size_bytes": 3}}, "weights.digest"),
        ({"weights": {"digest": "a" * 64, "size_bytes": "3"}}, "size_bytes"),
    ],
)
def test_manifests_that_do_not_hold_are_refused(change: dict[str, Any], message: str, loaded: LoadedBackbone) -> None:
    fields = json.loads(language_checkpoint(loaded, "sw")[0]) | change
    with pytest.raises(InvalidManifest, match=message):
        from_bytes(json.dumps(fields).encode())


def test_bytes_that_are_no_manifest_are_refused() -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"null"):
        with pytest.raises(InvalidManifest):
            from_bytes(content)


def test_a_task_adapter_names_task_head_and_composition() -> None:
    with pytest.raises(Exception, match="names its task, head and composition"):
        Manifest(
            kind="task",
            config=language_config(invertible=False),
            backbone=BackboneRef(name="x", fingerprint="a" * 64),
            weights=WeightsRef(digest="b" * 64, size_bytes=1),
            method="madx",
        )


@pytest.mark.parametrize(
    ("tag", "canonical"), [("swa", "sw"), ("SW", "sw"), ("yor", "yo"), ("pcm", "pcm"), ("zh-hant", "zh-Hant")]
)
def test_languages_have_one_spelling(tag: str, canonical: str) -> None:
    assert canonical_language(tag) == canonical


def test_invented_languages_do_not_fill_memory() -> None:
    for number in range(5_000):
        with contextlib.suppress(InvalidConfig):
            canonical_language(f"x-made{number}")
    assert len(langcodes.Language._INSTANCES) < 4_200
    assert len(langcodes.Language._PARSE_CACHE) < 4_200
