"""`glossa export adapterhub`: whole folders, names that AdapterHub's modules can have, and what is refused."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from glossa.adapterhub.bin_weights import read_bin
from madx.config import AdapterConfig, Composition, HeadConfig, InvertibleConfig, language_config, task_config
from madx.loading import LoadedBackbone, load_backbone
from registry.publish import publish
from registry.registry import Registry, open_registry
from tests.support.tiny import language_checkpoint, make_backbone, register_backbone, task_checkpoint

Glossa = Any


@pytest.fixture
def loaded(made_folder: Path) -> LoadedBackbone:
    return load_backbone(made_folder / "backbone")


@pytest.fixture
def registry(home: Path, loaded: LoadedBackbone) -> Iterator[Registry]:
    opened = open_registry(home)
    register_backbone(opened, loaded)
    yield opened
    opened.close()


def put(registry: Registry, name: str, checkpoint: tuple[bytes, bytes]) -> None:
    manifest, weights = checkpoint
    publish(registry, manifest, io.BytesIO(weights), name=name)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_a_version_trained_here(glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path) -> None:
    put(registry, "ner-en", task_checkpoint(loaded, config=task_config(reduction=4, leave_out=(1,))))
    done = glossa("export", "adapterhub", "ner-en@1", tmp_path / "out")
    assert done.status == 0
    assert 'load it with load_adapter("' in done.out
    assert "runs on top of the language adapter of the text" in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json", "head_config.json", "pytorch_adapter.bin", "pytorch_model_head.bin"
    ]  # fmt: skip
    config, head = (read_json(tmp_path / "out" / f"{part}_config.json") for part in ("adapter", "head"))
    assert (config["name"], config["config"]["leave_out"], config["model_name"]) == ("ner-en", [1], "backbone")
    assert head["config"]["label2id"]["O"] == 0
    names = set(read_bin(tmp_path / "out" / "pytorch_adapter.bin"))
    assert names == {
        f"roberta.encoder.layer.0.output.adapters.ner-en.{part}.{kind}"
        for part in ("adapter_down.0", "adapter_up")
        for kind in ("weight", "bias")
    }
    assert set(read_bin(tmp_path / "out" / "pytorch_model_head.bin")) == {
        "heads.ner-en.1.weight",
        "heads.ner-en.1.bias",
    }


def test_json_says_how_to_load_it(glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path) -> None:
    put(registry, "lang-sw", language_checkpoint(loaded, "sw"))
    done = glossa("export", "adapterhub", "lang-sw", tmp_path / "out", "--safetensors", "--json")
    said = json.loads(done.out)
    assert (said["reference"], said["name"], done.err) == ("lang-sw@1", "sw", "")
    assert said["load"] == f'load_adapter("{tmp_path / "out"}", use_safetensors=True)'
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["adapter.safetensors", "adapter_config.json"]
    assert len(safetensors.torch.load_file(tmp_path / "out" / "adapter.safetensors")) == 2 * 4 + 8


@pytest.mark.parametrize(
    ("name", "language", "inside"), [("lang.to", "to", "to-adapter"), ("lang-pt", "pt-BR", "pt-BR")]
)
def test_names_that_modules_can_have(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path, name: str, language: str, inside: str
) -> None:
    """Tongan is "to", which every torch module has already."""
    put(registry, name, language_checkpoint(loaded, language))
    assert json.loads(glossa("export", "adapterhub", name, tmp_path / "out", "--json").out)["name"] == inside
    assert read_json(tmp_path / "out" / "adapter_config.json")["name"] == inside


def test_a_task_adapters_name_loses_its_dots(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path
) -> None:
    put(registry, "ner.v2", task_checkpoint(loaded, composition=Composition(language="none")))
    done = glossa("export", "adapterhub", "ner.v2", tmp_path / "out", "--json")
    assert json.loads(done.out)["name"] == "ner-v2"
    assert glossa("export", "adapterhub", "ner.v2", tmp_path / "other").err == ""


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (AdapterConfig(form="paper"), "of the form paper"),
        (AdapterConfig(placement="houlsby"), "houlsby"),
    ],
)
def test_task_adapters_that_the_format_cannot_express(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path, config: AdapterConfig, says: str
) -> None:
    put(registry, "ner", task_checkpoint(loaded, config=config))
    refused(glossa, "ner", tmp_path / "out", says)


def test_an_inverse_with_a_non_linearity_of_its_own(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path
) -> None:
    config = AdapterConfig(non_linearity="gelu", invertible=InvertibleConfig(non_linearity="relu"))
    put(registry, "lang-sw", language_checkpoint(loaded, "sw", config=config))
    refused(glossa, "lang-sw", tmp_path / "out", "one non-linearity for both")


def test_the_form_of_a_language_adapter_means_nothing(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path
) -> None:
    config = AdapterConfig(form="paper", invertible=language_config().invertible)
    put(registry, "lang-sw", language_checkpoint(loaded, "sw", config=config))
    assert glossa("export", "adapterhub", "lang-sw", tmp_path / "out").status == 0


def test_a_masked_lm_head_needs_the_backbones_weights(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(registry, "lang-sw", language_checkpoint(loaded, "sw", head=HeadConfig(type="masked_lm")))
    monkeypatch.setenv("GLOSSA_BACKBONE", str(make_backbone(tmp_path / "other", seed=8)))
    refused(glossa, "lang-sw", tmp_path / "out", "set GLOSSA_BACKBONE")


def refused(glossa: Glossa, name: str, folder: Path, says: str) -> None:
    done = glossa("export", "adapterhub", name, folder)
    assert (done.status, done.err.count("\n"), done.out) == (1, 1, "")
    assert says in done.err
    assert not folder.exists()


def test_a_folder_that_holds_something_is_left_alone(
    glossa: Glossa, registry: Registry, loaded: LoadedBackbone, tmp_path: Path
) -> None:
    put(registry, "lang-sw", language_checkpoint(loaded, "sw"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    done = glossa("export", "adapterhub", "lang-sw", tmp_path / "out")
    assert done.status == 1
    assert "is not empty" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    done = glossa("export", "adapterhub", "lang-sw", tmp_path / "out" / "thesis.txt" / "below")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "cannot write" in done.err


def test_an_unknown_version(glossa: Glossa, registry: Registry, tmp_path: Path) -> None:
    done = glossa("export", "adapterhub", "nobody", tmp_path / "out")
    assert done.status == 1
    assert "no adapter 'nobody'" in done.err
