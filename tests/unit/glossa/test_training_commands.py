"""From data to answers through the commands, in this process: train, look, move folders, evaluate, predict."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry.evaluations import Evaluation, list_evaluations
from registry.registry import open_registry

Glossa = Any
pytestmark = pytest.mark.slow


def test_training_publishes_and_is_not_repeated(trained: Glossa, made_folder: Path) -> None:
    arguments = ("--language", "swa", "--data", "made-text-sw", "--recipe", made_folder / "recipe.toml", "--json")
    again = trained("train", "language", *arguments)
    version = json.loads(again.out)
    assert version["reference"] == "sw@1"
    assert version["metrics"]["perplexity"] > 1
    assert "step" not in again.err
    other = trained("train", "language", *arguments, "--no-invertible")
    assert json.loads(other.out)["reference"] == "sw@2"
    assert "expected to take" in other.err
    assert "tokens/s" in other.err
    invertible = [_manifest(trained, f"sw@{number}")["config"]["invertible"] for number in (1, 2)]
    assert invertible[0] is not None
    assert invertible[1] is None


def _manifest(glossa: Glossa, reference: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(glossa("adapters", "show", reference, "--json").out)["manifest"]
    return manifest


def test_a_task_adapter_names_what_it_was_trained_on(trained: Glossa) -> None:
    manifest = _manifest(trained, "ner-en")
    assert manifest["composition"]["language"] == "swapped"
    assert manifest["hyper_parameters"]["language_adapter"] == "en@1"
    assert [data["name"] for data in manifest["datasets"]] == ["made-ner-en", "made-ner-en"]
    assert "made-ner-en train (CC0-1.0)" in trained("adapters", "show", "ner-en").out


def test_a_pulled_folder_is_pushed_back_as_the_same_version(trained: Glossa, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    assert trained("adapters", "pull", "sw@1", "--output", folder).status == 0
    assert sorted(path.name for path in folder.iterdir()) == ["adapter.safetensors", "manifest.json"]
    assert "was there already" in trained("adapters", "push", folder, "--name", "sw").out
    assert trained("adapters", "push", folder, "--name", "copy").out == "copy@1 published\n"
    assert trained("adapters", "push", folder, "--name", "ner-en").status == 1


def test_a_damaged_folder_is_refused_and_nothing_published(trained: Glossa, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    trained("adapters", "pull", "sw", "--output", folder)
    weights = folder / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    done = trained("adapters", "push", folder, "--name", "damaged")
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert trained("adapters", "show", "damaged").status == 1


def test_an_alias_moves_by_compare_and_set(trained: Glossa) -> None:
    moved = json.loads(trained("adapters", "alias", "sw@1", "production", "--expect", "0", "--json").out)
    assert moved.pop("moved_at")
    assert moved == {"name": "sw", "alias": "production", "version": 1, "reference": "sw@1", "revision": 1}
    done = trained("adapters", "alias", "sw@1", "production", "--expect", "0")
    assert done.status == 1
    assert "somebody moved it" in done.err


def test_a_default_ends_ambiguity(trained: Glossa, tmp_path: Path) -> None:
    trained("adapters", "pull", "sw", "--output", tmp_path / "sw")
    trained("adapters", "push", tmp_path / "sw", "--name", "other-sw")
    ambiguous = trained("predict", "--language", "sw", "Juma")
    assert ambiguous.status == 1
    assert "other-sw, sw" in ambiguous.err
    assert trained("adapters", "default", "other-sw").status == 0
    assert "ran other-sw@1, ner-en@1" in trained("predict", "--language", "sw", "Juma").err


def _kept(home: Path) -> tuple[Evaluation, ...]:
    with closing(open_registry(home)) as registry:
        return list_evaluations(registry, "ner-en", 1).items


def test_evaluation_says_which_language_adapter_read_what(trained: Glossa, home: Path) -> None:
    scores = json.loads(trained("evaluate", "--target", "made-ner-sw", "--target", "made-ner-pcm:dev", "--json").out)
    read = [(score["language"], score["split"], score["language_adapter"], score["note"]) for score in scores]
    assert read == [
        ("sw", "test", "sw@1", None),
        ("pcm", "dev", None, "no adapter for pcm: none"),
        ("pcm", "dev", "en@1", "no adapter for pcm: en's"),
    ]
    assert {score["n"] for score in scores} == {40}
    newest_first = _kept(home)
    assert [(item.measured.language, item.measured.language_adapter) for item in reversed(newest_first)] == [
        ("sw", "sw@1"),
        ("pcm", None),
        ("pcm", "en@1"),
    ]
    first = newest_first[-1].measured
    assert (first.metric, first.score) == ("entity-f1", scores[0]["score"])
    assert (first.dataset, first.split, first.dataset_digest) == ("made-ner-sw", "test", scores[0]["sha256"])
    assert first.detail == {"precision": scores[0]["precision"], "recall": scores[0]["recall"], "sentences": 40}
    table = trained("evaluate", "--bare", "--target", "made-ner-sw", "--language-adapter", "sw=en@1").out
    assert "none" in table
    assert "en@1" in table
    assert [item.measured.language_adapter for item in _kept(home)[:2]] == ["en@1", None]


def test_evaluation_without_a_record(trained: Glossa, home: Path) -> None:
    done = trained("evaluate", "--target", "made-ner-sw", "--no-record")
    assert done.status == 0, done.err
    assert "kept in the registry" not in done.err
    assert _kept(home) == ()


def test_evaluation_says_first_what_it_cannot_keep(trained: Glossa, home: Path, tmp_path: Path) -> None:
    odd = tmp_path / "two\nlines.conll"
    odd.write_text("Juma\tB-PER\n", encoding="utf-8")
    done = trained("evaluate", "--target", f"sw={odd}")
    assert done.status == 1
    assert "dataset has 1 to 200 printable characters" in done.err
    assert "1 of 1" not in done.err
    assert _kept(home) == ()


def test_evaluation_takes_every_data_set_that_is_here(trained: Glossa) -> None:
    scores = json.loads(trained("evaluate", "--json").out)
    assert {score["dataset"] for score in scores} == {"made-ner-en", "made-ner-sw", "made-ner-pcm"}


def test_prediction_in_process_answers_every_text(trained: Glossa) -> None:
    done = trained("predict", "--language", "sw", "--json", "Juma anaishi London", "Amina")
    assert done.status == 0
    assert len(json.loads(done.out)) == 2
    masks = trained("predict", "--task", "fill-mask", "--language", "en", "the <mask> sat")
    assert len(masks.out.splitlines()) == 6
    refused = trained("predict", "--task", "nerd", "Juma")
    assert refused.status == 1
    assert "ner" in refused.err
    assert "ran" not in refused.err


SMALL = (
    "--steps", "4", "--hidden-size", "32", "--num-layers", "2", "--num-heads", "2", "--intermediate-size", "64",
    "--vocab-size", "400", "--chunk-tokens", "32", "--batch-rows", "4", "--eager",
)  # fmt: skip


def test_pretraining_writes_a_backbone_that_trains(glossa: Glossa, tmp_path: Path, made_folder: Path) -> None:
    folder = tmp_path / "backbone"
    languages = ("--language", "en=made-text-en", "--language", f"swa={made_folder / 'made-text-sw.txt'}")
    done = glossa("pretrain", *languages, "--output", folder, *SMALL, "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["steps"] == 4
    assert set(json.loads(done.out)["perplexity"]) == {"en", "sw"}
    assert glossa("backbones", "add", folder).status == 0
    taken = glossa("pretrain", *languages, "--output", made_folder, *SMALL)
    assert taken.status == 1
    assert "name a new folder" in taken.err


def test_pretraining_reads_translations_of_its_languages(glossa: Glossa, tmp_path: Path) -> None:
    folder = tmp_path / "backbone"
    languages = ("--language", "en=made-text-en", "--language", "sw=made-text-sw")
    done = glossa("pretrain", *languages, "--translations", "made", "--output", folder, *SMALL)
    assert done.status == 0, done.err
    card = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    assert {ref["name"] for ref in card["data"].values()} == {"made-text-en", "made-text-sw"}
    assert card["spec"]["translation_share"] == 0.3
    alone = glossa("pretrain", *languages[:2], "--translations", "made", "--output", folder, *SMALL)
    assert alone.status == 1
    assert "translations need two languages of one text: made has en, sw" in alone.err
