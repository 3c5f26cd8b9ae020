"""The `task` job for NER: tagged sentences -> a task adapter on a frozen language adapter or none, best by dev F1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from madx.adapter import Adapter
from madx.config import AdapterConfig, Form, HeadConfig
from madx.loading import LoadedBackbone
from madx.manifest import BackboneRef, Manifest
from registry.datasets.locate import LocatedFile
from registry.datasets.readers.reading import tagged_sentences_of
from registry.datasets.readers.tagged import NER_LABELS, TaggedSentence, to_labels
from registry.values import Version

from ..adapters import (
    PublishedAdapter,
    check_publishable,
    hyper_parameters,
    library_versions,
    load_adapter,
    new_adapter,
    publish_adapter,
    weights_to_come,
)
from ..holdout import part
from ..loop import BatchLoss, Optimisation
from ..methods import madx
from ..methods.madx import Trainee
from ..objectives import tagging
from ..objectives.tagging import LabelledRow, LengthOrder
from ..recipe import TaskRecipe, layers_from_end
from ..run import Assessment, Course, Outcome, Watcher, pursue
from .optimisation import optimisation
from .workplace import Workplace, once, run_folder, training_dropout

TASK: Final = "ner"
_LEAST_HELD_OUT_WORDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One NER task adapter to train.

    `train` and `dev` are catalogue names or paths. Without `dev`, the data set's own dev split decides which weights
    are best, and where it has none, sentences held out of the training ones. `language_adapter` is a reference, or
    None to train on the bare backbone.
    """

    name: str
    train: str
    dev: str | None = None
    language_adapter: str | None
    recipe: TaskRecipe
    recipe_name: str = "own"
    labels: tuple[str, ...] = NER_LABELS
    form: Form = "adapterhub"
    seed: int = 1
    max_minutes: float | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentences:
    train: Sequence[TaggedSentence]
    dev: Sequence[TaggedSentence]


def train_task(place: Workplace, spec: TaskSpec, watcher: Watcher) -> Version:
    """Train, or go on training, and publish. A run that is finished gives its version at once.

    Raises `Interrupted`, and what data, recipe and registry raise (`WrongBackbone` for a foreign language adapter).
    """
    loaded = place.loaded
    check_publishable(place.registry, loaded, spec.name, kind="task", language=None, task=TASK)
    files = _files(place, spec)
    language: PublishedAdapter | None = None
    if spec.language_adapter is not None:
        language = load_adapter(place.registry, spec.language_adapter, loaded, kind="language")
    parents = () if language is None else (str(language.version.manifest_digest),)
    folder = run_folder(place, spec.name, spec, files, *parents)

    def work() -> Version:
        adapter = new_adapter(
            _config(spec, loaded), HeadConfig(type="tagging", labels=spec.labels), loaded, seed=spec.seed
        )
        trainee = madx.train_task(
            adapter, None if language is None else language.adapter, leave_out=_left_out(spec, loaded, language)
        )
        course = _course(spec, loaded, trainee, _read(spec, files))
        with training_dropout(loaded.backbone, spec.recipe.optimiser.dropout):
            outcome = pursue(course, folder, watcher)
        adapter.load_state_dict(outcome.best)
        manifest = _manifest(spec, loaded, adapter, language, files, outcome)
        return publish_adapter(place.registry, spec.name, manifest, adapter)

    return once(place, folder, work)


def _files(place: Workplace, spec: TaskSpec) -> tuple[LocatedFile, ...]:
    """The training file and, where there is one, the dev file."""
    train = place.data.locate(spec.train, "train", task=TASK)
    if spec.dev is not None:
        return (train, place.data.locate(spec.dev, "dev", task=TASK))
    dev = place.data.locate_optional(spec.train, "dev", task=TASK)
    return (train,) if dev is None else (train, dev)


def _read(spec: TaskSpec, files: tuple[LocatedFile, ...]) -> _Sentences:
    read = [[to_labels(sentence, spec.labels) for sentence in tagged_sentences_of(file)] for file in files]
    if len(read) == 2:
        return _Sentences(train=read[0], dev=read[1])
    sentences = read[0]
    keys = [" ".join(sentence.words) for sentence in sentences]
    sizes = [len(sentence.words) for sentence in sentences]
    parting = part(keys, sizes, share=spec.recipe.held_out_share, least=_LEAST_HELD_OUT_WORDS, most=sum(sizes))
    return _Sentences(
        train=[sentences[number] for number in parting.train], dev=[sentences[number] for number in parting.held_out]
    )


def _config(spec: TaskSpec, loaded: LoadedBackbone) -> AdapterConfig:
    return AdapterConfig(
        reduction=spec.recipe.reduction,
        form=spec.form,
        leave_out=layers_from_end(spec.recipe.leave_out, loaded.config.num_layers),
    )


def _left_out(spec: TaskSpec, loaded: LoadedBackbone, language: PublishedAdapter | None) -> tuple[int, ...]:
    """Layers in which the language adapter does not act, in training and when served."""
    layers = layers_from_end(spec.recipe.language_leave_out, loaded.config.num_layers)
    return () if language is None else layers


def _rows(spec: TaskSpec, loaded: LoadedBackbone, sentences: Sequence[TaggedSentence]) -> list[LabelledRow]:
    return [
        row
        for sentence in sentences
        for row in tagging.labelled_rows(
            sentence.words, sentence.tags, spec.labels, loaded.tokenizer, max_tokens=loaded.config.max_tokens
        )
    ]


def _course(
    spec: TaskSpec, loaded: LoadedBackbone, trainee: Trainee, sentences: _Sentences
) -> Course[list[LabelledRow]]:
    recipe, backbone = spec.recipe, loaded.backbone
    rows = _rows(spec, loaded, sentences.train)
    order = LengthOrder(lengths=[len(row.input_ids) for row in rows], batch=recipe.batch, seed=spec.seed)
    dev_words = [sentence.words for sentence in sentences.dev]
    dev_tags = [sentence.tags for sentence in sentences.dev]

    def loss_of(batch: list[LabelledRow]) -> BatchLoss:
        backbone.train()
        trainee.trained.train()
        loss = tagging.loss(backbone, trainee.adapters, trainee.stack, batch)
        return BatchLoss(loss=loss, tokens=sum(len(row.input_ids) for row in batch))

    def assess() -> Assessment:
        backbone.eval()
        trainee.trained.eval()
        predicted = tagging.predict(backbone, trainee.adapters, trainee.stack, dev_words, spec.labels, loaded.tokenizer)
        score = tagging.entity_score(dev_tags, predicted)
        return Assessment(
            score=score.f1, metrics={"dev_f1": score.f1, "dev_precision": score.precision, "dev_recall": score.recall}
        )

    def settings(steps: int) -> Optimisation:
        return optimisation(recipe.optimiser, steps=steps, seed=spec.seed, device=backbone.device)

    return Course(
        parameters=dict(trainee.trained.named_parameters()),
        loss_of=loss_of,
        batch_at=lambda number: [rows[row] for row in order.at(number)],
        baseline=assess,
        assess=assess,
        settings=settings,
        steps=recipe.epochs * order.steps_per_epoch,
        evaluate_every=recipe.evaluate_every or order.steps_per_epoch,
        patience=recipe.patience,
        max_minutes=spec.max_minutes,
    )


def _manifest(
    spec: TaskSpec,
    loaded: LoadedBackbone,
    adapter: Adapter,
    language: PublishedAdapter | None,
    files: tuple[LocatedFile, ...],
    outcome: Outcome,
) -> Manifest:
    stacked_on = None if language is None else language.adapter
    return Manifest(
        kind="task",
        config=adapter.config,
        head=adapter.head_config,
        composition=madx.composition(stacked_on, leave_out=_left_out(spec, loaded, language)),
        task=TASK,
        backbone=BackboneRef(name=loaded.name, fingerprint=loaded.fingerprint),
        weights=weights_to_come(),
        datasets=tuple(file.data_ref() for file in files),
        method=madx.NAME,
        hyper_parameters=hyper_parameters(
            spec.recipe,
            recipe=spec.recipe_name,
            seed=spec.seed,
            language_adapter=None if language is None else language.version.reference,
        ),
        metrics={**outcome.metrics, **outcome.measures()},
        parents=() if language is None else (language.version.manifest_digest,),
        licence=spec.licence,
        library_versions=library_versions(),
    )
