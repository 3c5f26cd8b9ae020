"""Zero-shot NER: one task adapter over many languages, each with its own language adapter, another's, or none.

A trial is one cell of the transfer matrix; scores come one by one, so that a caller can keep what is finished.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from madx.loading import LoadedBackbone
from madx.stack import Adapters
from registry import catalog
from registry.datasets.dataset import DataSet
from registry.datasets.locate import LocatedFile
from registry.datasets.readers.reading import tagged_sentences_of
from registry.datasets.readers.tagged import to_labels
from registry.errors import NotFound
from registry.registry import Registry

from .adapters import PublishedAdapter, load_adapter
from .methods.madx import LANGUAGE, TASK, stack_of
from .objectives.tagging import EntityScore, entity_score, predict

STAND_IN_LANGUAGE = "en"
WITHOUT_TEXT = ("pcm",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One test file read with one language adapter (a reference), or with none. `note` goes into the table."""

    language: str
    dataset: str
    split: str = "test"
    language_adapter: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialScore:
    """`task_adapter` and `language_adapter` name exact versions."""

    trial: Trial
    task_adapter: str
    language_adapter: str | None
    score: EntityScore
    sentences: int
    digest: str


def trials_of(
    registry: Registry, loaded: LoadedBackbone, datasets: Sequence[DataSet], *, split: str = "test"
) -> list[Trial]:
    """For every data set with that split: without language adapter, and with its language's own where there is one.

    A language without any text to train on runs with English's adapter instead, and its trials say so. Raises
    `AmbiguousAdapter` where a language has several adapters and no default.
    """
    trials: list[Trial] = []
    for dataset in datasets:
        if split not in dataset.splits:
            continue
        stands_in = dataset.language in WITHOUT_TEXT
        note = f"no {dataset.language} text: {STAND_IN_LANGUAGE}'s language adapter" if stands_in else None
        trials.append(Trial(language=dataset.language, dataset=dataset.name, split=split, language_adapter=None))
        reference = _chosen(registry, loaded, STAND_IN_LANGUAGE if stands_in else dataset.language)
        if reference is not None:
            trials.append(
                Trial(
                    language=dataset.language,
                    dataset=dataset.name,
                    split=split,
                    language_adapter=reference,
                    note=note,
                )
            )
    return trials


def _chosen(registry: Registry, loaded: LoadedBackbone, language: str) -> str | None:
    try:
        return catalog.choose(registry, kind="language", key=language, fingerprint=loaded.fingerprint).reference
    except NotFound:
        return None


def evaluate_ner(
    registry: Registry,
    loaded: LoadedBackbone,
    task_adapter: str,
    trials: Sequence[tuple[Trial, LocatedFile]],
) -> Iterator[TrialScore]:
    """Score trial after trial. Types that the head does not know, DATE among them, count as O.

    Raises what registry and readers raise; `UnknownTag` for a type that is neither a label nor known to be dropped.
    """
    task = load_adapter(registry, task_adapter, loaded, kind="task")
    languages: dict[str, PublishedAdapter] = {}
    loaded.backbone.eval()
    for trial, file in trials:
        reference = trial.language_adapter
        if reference is not None and reference not in languages:
            languages[reference] = load_adapter(registry, reference, loaded, kind="language")
        yield _score(loaded, task, None if reference is None else languages[reference], trial, file)


def _score(
    loaded: LoadedBackbone,
    task: PublishedAdapter,
    language: PublishedAdapter | None,
    trial: Trial,
    file: LocatedFile,
) -> TrialScore:
    manifest = task.version.manifest
    assert manifest.head is not None
    assert manifest.composition is not None
    labels = manifest.head.labels
    sentences = [to_labels(sentence, labels) for sentence in tagged_sentences_of(file)]
    stacked: Adapters = {TASK: task.adapter} if language is None else {TASK: task.adapter, LANGUAGE: language.adapter}
    predicted = predict(
        loaded.backbone,
        stacked,
        stack_of(manifest.composition, has_language=language is not None),
        [sentence.words for sentence in sentences],
        labels,
        loaded.tokenizer,
    )
    return TrialScore(
        trial=trial,
        task_adapter=task.version.reference,
        language_adapter=None if language is None else language.version.reference,
        score=entity_score([sentence.tags for sentence in sentences], predicted),
        sentences=len(sentences),
        digest=file.sha256,
    )
