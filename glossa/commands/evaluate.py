"""`glossa evaluate`: one task adapter over many languages, zero-shot."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from registry import catalog
from registry.evaluations import Measurement, record_evaluation
from registry.references import parse_reference
from registry.registry import Registry
from registry.values import Version

from ..home import Home, settings_of
from ..output import echo_json, echo_table
from . import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from madx.loading import LoadedBackbone
    from registry.datasets.locate import LocatedFile
    from trainer.evaluate import Trial, TrialScore

METRIC = "entity-f1"


@click.command()
@click.option("--task-adapter", metavar="REFERENCE", help="[default: the registry's choice for ner]")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="[CODE=]DATASET[:SPLIT]",
    help="A test set, from the catalogue or a file; repeat. [default: every NER data set that is here]",
)
@click.option(
    "--language-adapter",
    "named",
    multiple=True,
    callback=options.pairs,
    metavar="CODE=REFERENCE|none",
    help="Read this language with this adapter; repeat. [default: the registry's choice]",
)
@click.option("--bare", is_flag=True, help="Also without any language adapter.")
@click.option(
    "--record/--no-record", "recording", default=True, help="Keep the scores in the registry, beside the version."
)
@options.backbone
@options.as_json
def evaluate(
    task_adapter: str | None,
    targets: tuple[str, ...],
    named: dict[str, str],
    bare: bool,
    recording: bool,
    backbone: str | None,
    json_output: bool,
) -> None:
    """Score a task adapter on test sets of many languages (entity F1).

    A language without adapter is read with none, and with that of the language the task adapter was trained in. Each
    score is kept in the registry as soon as it is there.
    """
    from madx.manifest import canonical_language

    from ..backbone import load_for_training
    from ..targets import read_target, trials_for

    settings = settings_of(backbone=backbone)
    home = Home.of(settings)
    places = home.data_places()
    wanted = [read_target(text, places) for text in targets or _all_here(home)]
    adapters = {canonical_language(code): reference for code, reference in named.items()}
    loaded = load_for_training(settings)
    with home.registry() as registry:
        task = _task_version(registry, task_adapter, loaded.fingerprint)
        trials = list(trials_for(registry, task, wanted, adapters, bare=bare))
        scores = _scores(registry, loaded, task, trials, recording=recording)
    if json_output:
        echo_json([_item(score) for score in scores])
        return
    columns = ("language", "data", "split", "language adapter", "sentences", "precision", "recall", "F1", "note")
    click.echo(f"task adapter {task.reference}")
    echo_table(columns, [_row(score) for score in scores], empty="nothing to evaluate on; name a --target")


def _scores(
    registry: Registry,
    loaded: "LoadedBackbone",
    task: Version,
    trials: "Sequence[tuple[Trial, LocatedFile]]",
    *,
    recording: bool,
) -> "list[TrialScore]":
    """One after the other, each kept in the registry as soon as it is there."""
    from trainer.evaluate import evaluate_ner

    if recording:
        for trial, file in trials:  # before hours are spent on what cannot be kept
            _measurement(trial, file.sha256, 0.0)
    scores = []
    for score in evaluate_ner(registry, loaded, task.reference, trials):
        scores.append(score)
        if recording:
            record_evaluation(registry, task.name, task.number, _measured(score))
        click.echo(f"{len(scores)} of {len(trials)}: {score.trial.dataset}", err=True)
    if recording and scores:
        click.echo(f"kept in the registry, beside {task.reference} (--no-record leaves them out)", err=True)
    return scores


def _all_here(home: Home) -> list[str]:
    """The NER data sets whose test split is here."""
    from registry.datasets.errors import DataError

    places = home.data_places()
    found = []
    for dataset in places.catalogue.select(task="ner"):
        try:
            places.locate(dataset.name, "test", task="ner")
        except DataError:
            continue
        found.append(dataset.name)
    return found


def _task_version(registry: Registry, reference: str | None, fingerprint: str) -> Version:
    if reference is None:
        return catalog.choose(registry, kind="task", key="ner", fingerprint=fingerprint)
    return catalog.resolve(registry, parse_reference(reference), fingerprint=fingerprint)


def _measured(score: "TrialScore") -> Measurement:
    measured = _measurement(score.trial, score.digest, score.score.f1)
    detail = {"precision": score.score.precision, "recall": score.score.recall, "sentences": score.sentences}
    return replace(measured, language_adapter=score.language_adapter, detail=detail)


def _measurement(trial: "Trial", digest: str, score: float) -> Measurement:
    return Measurement(
        metric=METRIC,
        score=score,
        dataset=trial.dataset,
        split=trial.split,
        dataset_digest=digest,
        language=trial.language,
    )


def _item(score: "TrialScore") -> dict[str, object]:
    return {
        "language": score.trial.language,
        "dataset": score.trial.dataset,
        "split": score.trial.split,
        "sha256": score.digest,
        "task_adapter": score.task_adapter,
        "language_adapter": score.language_adapter,
        "n": score.sentences,
        "precision": score.score.precision,
        "recall": score.score.recall,
        "score": score.score.f1,
        "note": score.trial.note,
    }


def _row(score: "TrialScore") -> tuple[object, ...]:
    found = score.score
    return (
        score.trial.language,
        score.trial.dataset,
        score.trial.split,
        score.language_adapter or "none",
        score.sentences,
        f"{100 * found.precision:.1f}",
        f"{100 * found.recall:.1f}",
        f"{100 * found.f1:.1f}",
        score.trial.note,
    )
