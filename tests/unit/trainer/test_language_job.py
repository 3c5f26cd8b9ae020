"""The language job on tiny made-up text, from file to registry."""

from dataclasses import replace
from pathlib import Path

import pytest

from madx.config import language_config
from madx.errors import NoMaskedLMHead
from madx.fingerprint import fingerprint
from madx.loading import load_backbone
from madx.manifest import digest_of
from registry import search, versions
from registry.datasets.errors import BrokenData, UnknownDataSet
from registry.errors import Conflict, InvalidName
from tests.support.tiny import language_checkpoint, make_backbone, publish_adapter, register_backbone
from tests.support.training import language_spec, task_spec, workplace, write_tagged, write_text
from trainer.adapters import load_adapter
from trainer.errors import Interrupted, RunBusy, TooLittleData
from trainer.jobs.language import train_language
from trainer.jobs.task import train_task
from trainer.jobs.workplace import Workplace, locked
from trainer.run import Watcher


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "made.txt")


def stop_after(step: int) -> Watcher:
    seen: list[int] = []
    return Watcher(on_step=lambda made: seen.append(made.number), should_stop=lambda: len(seen) >= step)


def test_a_language_adapter_lowers_held_out_perplexity(place: Workplace, text: Path) -> None:
    spec = language_spec(text, steps=150)
    optimiser = replace(spec.recipe.optimiser, learning_rate=1e-2, dropout=0.0)
    version = train_language(place, replace(spec, recipe=replace(spec.recipe, optimiser=optimiser)), Watcher())
    metrics = version.manifest.metrics
    assert metrics["perplexity"] < 0.5 * metrics["perplexity_before"]
    assert metrics["steps"] == 150


def test_the_manifest_says_where_the_adapter_comes_from(place: Workplace, text: Path) -> None:
    version = train_language(place, replace(language_spec(text), licence="CC0-1.0", recipe_name="tiny"), Watcher())
    manifest = version.manifest
    assert (version.reference, version.language, manifest.method) == ("sw-made@1", "sw", "madx")
    assert manifest.config == language_config()
    assert manifest.backbone.fingerprint == place.loaded.fingerprint
    (data,) = manifest.datasets
    assert (data.name, data.split, data.digest) == ("made", "train", digest_of(text.read_bytes()))
    assert manifest.hyper_parameters["recipe"] == "tiny"
    assert manifest.hyper_parameters["optimiser.learning_rate"] == 2e-3
    assert {"torch", "transformers"} <= manifest.library_versions.keys()
    assert manifest.licence == "CC0-1.0"


def test_the_backbone_is_handed_back_as_it_was(place: Workplace, text: Path) -> None:
    loaded = place.loaded
    train_language(place, language_spec(text), Watcher())
    stored = loaded.backbone.stored_tensors()
    assert fingerprint(loaded.config, loaded.tokenizer.definition, stored) == loaded.fingerprint
    assert not loaded.backbone.training
    assert not any(parameter.requires_grad for parameter in loaded.backbone.parameters())


def test_an_interrupted_run_publishes_the_same_weights(tmp_path: Path, place: Workplace, text: Path) -> None:
    whole = train_language(place, language_spec(text), Watcher())
    other = workplace(tmp_path / "other", place.loaded)
    for after in (3, 5, 9):
        with pytest.raises(Interrupted):
            train_language(other, language_spec(text), stop_after(after))
        assert search.search_adapters(other.registry).items == ()
    resumed = train_language(other, language_spec(text), Watcher())
    assert resumed.weights_digest == whole.weights_digest
    assert resumed.manifest.metrics["perplexity"] == whole.manifest.metrics["perplexity"]
    other.registry.close()


def test_a_finished_run_is_not_done_again_and_leaves_no_checkpoint(place: Workplace, text: Path) -> None:
    first = train_language(place, language_spec(text), Watcher())
    steps: list[int] = []
    again = train_language(place, language_spec(text), Watcher(on_step=lambda step: steps.append(step.number)))
    assert again == first
    assert steps == []
    (folder,) = place.runs.iterdir()
    assert {file.name for file in folder.iterdir()} - {".lock"} == {"result.json"}


def test_a_run_whose_version_was_deleted_is_done_again(place: Workplace, text: Path) -> None:
    first = train_language(place, language_spec(text), Watcher())
    versions.delete_version(place.registry, first.name, first.number)
    assert train_language(place, language_spec(text), Watcher()).weights_digest == first.weights_digest


def test_another_seed_or_recipe_is_another_run(place: Workplace, text: Path) -> None:
    spec = language_spec(text)
    first = train_language(place, spec, Watcher())
    second = train_language(place, replace(spec, seed=2), Watcher())
    assert (second.number, second.weights_digest != first.weights_digest) == (2, True)
    train_language(place, replace(spec, invertible=False), Watcher())
    assert len(list(place.runs.iterdir())) == 3


def test_changed_text_is_another_run(place: Workplace, text: Path) -> None:
    train_language(place, language_spec(text), Watcher())
    write_text(text, seed=9)
    assert train_language(place, language_spec(text), Watcher()).number == 2


def test_without_invertible_there_are_no_such_tensors(place: Workplace, text: Path) -> None:
    version = train_language(place, replace(language_spec(text), invertible=False), Watcher())
    assert load_adapter(place.registry, version.reference, place.loaded, kind="language").adapter.invertible is None


def test_a_trained_head_starts_from_the_backbones_and_leaves_it(place: Workplace, text: Path) -> None:
    version = train_language(place, replace(language_spec(text), train_head=True), Watcher())
    trained = load_adapter(place.registry, version.reference, place.loaded, kind="language").adapter.head
    assert trained is not None
    head = place.loaded.backbone.masked_lm
    assert head is not None
    difference = (trained.state_dict()["dense.weight"] - head.dense.weight).abs()
    assert 0 < difference.max() < 0.1
    assert version.manifest.metrics["perplexity"] < version.manifest.metrics["perplexity_before"]


def test_layers_can_be_left_out_from_the_end(place: Workplace, text: Path) -> None:
    spec = language_spec(text)
    version = train_language(place, replace(spec, recipe=replace(spec.recipe, leave_out=(-1,))), Watcher())
    assert version.manifest.config.leave_out == (1,)


def test_a_backbone_without_masked_lm_head_is_refused(tmp_path: Path, text: Path) -> None:
    loaded = load_backbone(make_backbone(tmp_path / "headless", masked_lm=False))
    headless = workplace(tmp_path / "home", loaded)
    with pytest.raises(NoMaskedLMHead, match="headless has no masked-LM head"):
        train_language(headless, language_spec(text), Watcher())
    headless.registry.close()


def test_wrong_requests_are_refused_before_training(tmp_path: Path, place: Workplace, text: Path) -> None:
    with pytest.raises(InvalidName):
        train_language(place, language_spec(text, name="No Name"), Watcher())
    with pytest.raises(UnknownDataSet, match="no data set is named 'text-xx'"):
        train_language(place, replace(language_spec(text), data="text-xx"), Watcher())
    register_backbone(place.registry, place.loaded)
    publish_adapter(place.registry, "sw-made", language_checkpoint(place.loaded, "yo"))
    with pytest.raises(Conflict, match="language adapter for yo"):
        train_language(place, language_spec(text), Watcher())
    text.write_bytes(b"good\n\xff\xfe\n")
    with pytest.raises(BrokenData, match=r"made\.txt:2"):
        train_language(place, language_spec(text, name="other"), Watcher())
    text.write_text("too short\n")
    with pytest.raises(TooLittleData, match="give more data"):
        train_language(place, language_spec(text, name="other"), Watcher())
    tagged = write_tagged(tmp_path / "made.conll")
    with pytest.raises(Conflict, match="language adapter for yo"):
        train_task(place, task_spec(tagged, name="sw-made"), Watcher())


def test_two_processes_never_share_a_run(place: Workplace, text: Path) -> None:
    train_language(place, language_spec(text), Watcher())
    (folder,) = place.runs.iterdir()
    with locked(folder), pytest.raises(RunBusy, match="another process"):
        train_language(place, language_spec(text), Watcher())
