"""`glossa train`: text -> a language adapter, tagged sentences -> a task adapter, both published at the end."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from madx.errors import GlossaError
from madx.manifest import canonical_language
from registry import catalog
from registry.values import Version

from ..home import Home, settings_of
from ..items import version_item
from ..output import echo_json, scores_text
from . import options

if TYPE_CHECKING:
    from service.settings import Settings
    from trainer.jobs.workplace import Workplace
    from trainer.recipe import Recipe
    from trainer.run import Watcher

    Job = Callable[[Workplace, Recipe, str, Watcher], Version]


class LanguageUnclear(GlossaError):
    """A task adapter that is to be trained, without saying on top of which language adapter."""

    code = "language_unclear"


@click.group()
def train() -> None:
    """Train a language or task adapter and publish it.

    The same command goes on after Ctrl-C or a crash; a run that is finished is not repeated.
    """


def _recipe(function: options.Function) -> options.Function:
    return click.option(
        "--recipe", metavar="NAME|FILE", help="Hyper-parameters. [default: demo on the demo's backbone, else mad-x]"
    )(function)


def _licence(function: options.Function) -> options.Function:
    return click.option("--licence", metavar="SPDX", help="What the manifest names as the adapter's licence.")(function)


@train.command()
@click.option("--language", required=True, metavar="CODE", help="BCP 47 or ISO 639-3.")
@click.option("--data", required=True, metavar="NAME|FILE", help="A text data set, or a file with a sentence a line.")
@click.option("--name", help="What to publish it as. [default: the language's code]")
@click.option("--invertible/--no-invertible", default=True, show_default=True, help="With the invertible adapter.")
@click.option("--train-head", is_flag=True, help="Train a copy of the masked-LM head, stored with the adapter.")
@_recipe
@options.seed
@options.max_minutes
@options.backbone
@_licence
@options.as_json
def language(
    language: str,
    data: str,
    name: str | None,
    invertible: bool,
    train_head: bool,
    recipe: str | None,
    seed: int,
    max_minutes: float | None,
    backbone: str | None,
    licence: str | None,
    json_output: bool,
) -> None:
    """Train a language adapter by masked language modelling (MAD-X)."""
    code = canonical_language(language)
    published_as = name or code.lower()

    def job(place: "Workplace", found: "Recipe", recipe_name: str, watcher: "Watcher") -> Version:
        from trainer.jobs.language import LanguageSpec, train_language

        spec = LanguageSpec(
            name=published_as,
            language=code,
            data=data,
            recipe=found.language,
            recipe_name=recipe_name,
            seed=seed,
            invertible=invertible,
            train_head=train_head,
            max_minutes=max_minutes,
            licence=licence,
        )
        return train_language(place, spec, watcher)

    _say(_run(published_as, job, recipe, settings_of(backbone=backbone)), json_output)


@train.command()
@click.option("--task", type=click.Choice(["ner"]), default="ner", show_default=True)
@click.option("--data", required=True, metavar="NAME|FILE", help="A data set with entity tags, or a CoNLL file.")
@click.option("--dev", metavar="NAME|FILE", help="Decides which weights are best. [default: DATA's dev split]")
@click.option("--language", metavar="CODE", help="The data's language: trains on top of its language adapter.")
@click.option("--language-adapter", metavar="REFERENCE|none", help="[default: the language's own]")
@click.option("--name", help="What to publish it as. [default: the task and the language]")
@click.option("--labels", metavar="O,B-PER,...", help="Labels to learn. [default: those of PER, ORG and LOC]")
@click.option("--form", type=click.Choice(["adapterhub", "paper"]), default="adapterhub", show_default=True)
@_recipe
@options.seed
@options.max_minutes
@options.backbone
@_licence
@options.as_json
def task(
    task: str,
    data: str,
    dev: str | None,
    language: str | None,
    language_adapter: str | None,
    name: str | None,
    labels: str | None,
    form: str,
    recipe: str | None,
    seed: int,
    max_minutes: float | None,
    backbone: str | None,
    licence: str | None,
    json_output: bool,
) -> None:
    """Train a task adapter with its head, on a frozen language adapter or on none."""
    if language is None and language_adapter is None:
        raise click.UsageError("give --language, or --language-adapter (none: without a language adapter)")
    code = None if language is None else canonical_language(language)
    published_as = name or "-".join(part.lower() for part in (task, code) if part is not None)

    def job(place: "Workplace", found: "Recipe", recipe_name: str, watcher: "Watcher") -> Version:
        from registry.datasets.readers.tagged import NER_LABELS
        from trainer.jobs.task import TaskSpec, train_task

        spec = TaskSpec(
            name=published_as,
            train=data,
            dev=dev,
            language_adapter=_stacked_on(place, code, language_adapter),
            recipe=found.task,
            recipe_name=recipe_name,
            labels=NER_LABELS if labels is None else tuple(label.strip() for label in labels.split(",")),
            form="paper" if form == "paper" else "adapterhub",
            seed=seed,
            max_minutes=max_minutes,
            licence=licence,
        )
        return train_task(place, spec, watcher)

    _say(_run(published_as, job, recipe, settings_of(backbone=backbone)), json_output)


def _stacked_on(place: "Workplace", language: str | None, named: str | None) -> str | None:
    """The exact version to train on, so that a resumed run is the same one."""
    from registry.references import parse_reference

    fingerprint = place.loaded.fingerprint
    if named == "none":
        return None
    if named is not None:
        version = catalog.resolve(place.registry, parse_reference(named), fingerprint=fingerprint)
        if version.kind != "language":
            raise LanguageUnclear(f"{version.reference} is a task adapter; --language-adapter takes a language adapter")
        return version.reference
    assert language is not None
    return catalog.choose(place.registry, kind="language", key=language, fingerprint=fingerprint).reference


def _run(title: str, job: "Job", recipe: str | None, settings: "Settings") -> Version:
    from trainer.interrupts import stop_on_interrupt
    from trainer.jobs.workplace import Workplace
    from trainer.recipe import load_recipe

    from ..backbone import default_recipe, load_for_training
    from ..progress import TrainingProgress

    recipe_name = recipe or default_recipe(settings)
    found = load_recipe(recipe_name)
    home = Home.of(settings)
    data = home.data_places()
    loaded = load_for_training(settings)
    with home.registry() as registry, TrainingProgress(title) as progress, stop_on_interrupt() as stops:
        place = Workplace(loaded=loaded, registry=registry, data=data, runs=home.runs)
        return job(place, found, recipe_name, progress.watcher(stops))


def _say(version: Version, json_output: bool) -> None:
    if json_output:
        echo_json(version_item(version))
    else:
        click.echo(f"{version.reference} published: {scores_text(version.manifest.metrics)}")
