"""Zero-shot NER: one task adapter over many languages, each with its own language adapter, another's, or none.

A trial is one cell of the transfer matrix; scores come one by one, so that a caller can keep what is finished.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from madx.loading import LoadedBackbone
from madx.stack import Adapters
from registry.datasets.locate import LocatedFile
from registry.datasets.readers.reading import tagged_sentences_of
from registry.datasets.readers.tagged import to_labels
from registry.registry import Registry

from .adapters import PublishedAdapter, load_adapter
from .methods.madx import LANGUAGE, TASK, stack_of
from .objectives.tagging import EntityScore, entity_score, predict


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
