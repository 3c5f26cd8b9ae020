"""The NER task job and zero-shot evaluation on tiny made-up sentences."""

from dataclasses import replace
from pathlib import Path

import pytest

from madx.loading import load_backbone
from madx.manifest import digest_of
from registry.datasets.errors import UnknownTag
from registry.datasets.locate import own_file
from registry.errors import UnknownAdapter, WrongBackbone
from tests.support.tiny import language_checkpoint, make_backbone, publish_adapter, register_backbone, task_checkpoint
from tests.support.training import task_spec, workplace, write_tagged
from trainer.adapters import load_adapter
from trainer.errors import Interrupted, WrongKind
from trainer.evaluate import Trial, TrialScore, evaluate_ner
from trainer.jobs.task import train_task
from trainer.jobs.workplace import Workplace
from trainer.run import Watcher


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    return write_tagged(tmp_path / "made.conll")


@pytest.fixture
def english(place: Workplace) -> str:
    register_backbone(place.registry, place.loaded)
    version = publish_adapter(place.registry, "en-made", language_checkpoint(place.loaded, "en"))
    return version.reference


def stop_after(step: int) -> Watcher:
    seen: list[int] = []
    return Watcher(on_step=lambda made: seen.append(made.number), should_stop=lambda: len(seen) >= step)


def test_a_task_adapter_learns_and_tags_other_sentences(place: Workplace, tmp_path: Path, tagged: Path) -> None:
    untrained: list[float] = []
    watcher = Watcher(on_assessment=lambda step, found: untrained.append(found.score) if step == 0 else None)
    spec = task_spec(tagged)
    optimiser = replace(spec.recipe.optimiser, dropout=0.0)
    version = train_task(place, replace(spec, recipe=replace(spec.recipe, epochs=20, optimiser=optimiser)), watcher)
    assert untrained[0] < 0.4
    assert version.manifest.metrics["dev_f1"] > 0.5
    test = own_file(write_tagged(tmp_path / "test.conll", seed=7), "conll", split="test")
    trial = Trial(language="en", dataset="test", language_adapter=None)
    (found,) = evaluate_ner(place.registry, place.loaded, version.reference, [(trial, test)])
    assert found.score.f1 > 0.5
    assert (found.sentences, found.task_adapter, found.language_adapter) == (120, "ner-made@1", None)


def test_on_a_language_adapter_the_manifest_names_it_and_the_adapter_stays(
    place: Workplace, tagged: Path, english: str
) -> None:
    before = load_adapter(place.registry, english, place.loaded, kind="language")
    version = train_task(place, task_spec(tagged, language_adapter="en-made"), Watcher())
    manifest = version.manifest
    assert manifest.parents == (before.version.manifest_digest,)
    assert manifest.composition is not None
    assert manifest.composition.language == "swapped"
    assert manifest.hyper_parameters["language_adapter"] == english
    assert manifest.datasets[0].digest == digest_of(tagged.read_bytes())
    assert load_adapter(place.registry, english, place.loaded, kind="language").version == before.version


def test_without_language_adapter_the_composition_says_none(place: Workplace, tagged: Path) -> None:
    manifest = train_task(place, task_spec(tagged), Watcher()).manifest
    assert manifest.composition is not None
    assert manifest.composition.language == "none"
    assert manifest.parents == ()


def test_left_out_layers_hold_in_training_and_composition(place: Workplace, tagged: Path, english: str) -> None:
    spec = task_spec(tagged, language_adapter=english)
    recipe = replace(spec.recipe, leave_out=(-1,), language_leave_out=(-1,))
    manifest = train_task(place, replace(spec, recipe=recipe), Watcher()).manifest
    assert manifest.config.leave_out == (1,)
    assert manifest.composition is not None
    assert manifest.composition.leave_out == (1,)


def test_the_language_adapter_acts_in_training(place: Workplace, tagged: Path, english: str) -> None:
    bare = train_task(place, task_spec(tagged, name="bare"), Watcher())
    stacked = train_task(place, task_spec(tagged, name="stacked", language_adapter=english), Watcher())
    assert bare.weights_digest != stacked.weights_digest


def test_an_interrupted_run_publishes_the_same_weights(tmp_path: Path, place: Workplace, tagged: Path) -> None:
    whole = train_task(place, task_spec(tagged), Watcher())
    other = workplace(tmp_path / "other", place.loaded)
    for after in (2, 15, 20):
        with pytest.raises(Interrupted):
            train_task(other, task_spec(tagged), stop_after(after))
    resumed = train_task(other, task_spec(tagged), Watcher())
    assert resumed.weights_digest == whole.weights_digest
    other.registry.close()


def test_an_own_dev_file_decides(place: Workplace, tmp_path: Path, tagged: Path) -> None:
    dev = write_tagged(tmp_path / "dev.conll", sentences=20, seed=3)
    manifest = train_task(place, replace(task_spec(tagged), dev=str(dev)), Watcher()).manifest
    assert [(data.name, data.split) for data in manifest.datasets] == [("made", "train"), ("dev", "dev")]


def test_wrong_requests_are_refused(tmp_path: Path, place: Workplace, tagged: Path) -> None:
    with pytest.raises(UnknownAdapter):
        train_task(place, task_spec(tagged, language_adapter="nowhere"), Watcher())
    foreign = load_backbone(make_backbone(tmp_path / "foreign", seed=99))
    register_backbone(place.registry, foreign)
    publish_adapter(place.registry, "sw-foreign", language_checkpoint(foreign, "sw"))
    with pytest.raises(WrongBackbone):
        train_task(place, task_spec(tagged, language_adapter="sw-foreign"), Watcher())
    publish_adapter(place.registry, "other-task", task_checkpoint(place.loaded))
    with pytest.raises(WrongKind, match="other-task@1 is a task adapter"):
        train_task(place, task_spec(tagged, language_adapter="other-task"), Watcher())
    tagged.write_text("Juma B-ANIMAL\n")
    with pytest.raises(UnknownTag, match="B-ANIMAL"):
        train_task(place, task_spec(tagged), Watcher())


def test_dates_count_as_outside(place: Workplace, tmp_path: Path, english: str) -> None:
    publish_adapter(place.registry, "ner-made", task_checkpoint(place.loaded))
    path = tmp_path / "dates.conll"
    scores: list[TrialScore] = []
    for tag in ("B-DATE", "O"):
        path.write_text(f"Juma B-PER\nleo {tag}\nParis B-LOC\n")
        trial = Trial(language="sw", dataset="dates", language_adapter=english)
        scores += evaluate_ner(place.registry, place.loaded, "ner-made", [(trial, own_file(path, "conll"))])
    assert scores[0].score == scores[1].score
    assert scores[0].language_adapter == english
