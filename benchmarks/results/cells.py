"""What docs/results/ner.json consists of: one cell per test set, method and seed.

A test language without any text has no language adapter of its own: it runs with English's and, as methods of their
own, with none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from madx.errors import GlossaError
from registry.datasets.catalogue import Catalogue
from registry.datasets.dataset import DataSet

Method = Literal["none", "language", "language+invertible", "in-language"]
METHODS: tuple[Method, ...] = get_args(Method)
# What computes the most for the least first: a run that is stopped early leaves whole columns.
ORDER: tuple[Method, ...] = ("none", "language+invertible", "language", "in-language")

SOURCE = "en"
SEEDS = (1, 2)
IN_LANGUAGE_SEEDS = (1,)
BARE_SUFFIX = ", none at test"


class NoSuchLanguage(GlossaError):
    """A language that no data set of the page has."""

    code = "unknown_language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """`trains_on` names the data set of the task adapter; `adapted_to` the language whose adapter is tested."""

    method: Method
    seed: int
    test: DataSet
    trains_on: DataSet
    adapted_to: str | None
    note: str | None = None
    is_bare: bool = False

    @property
    def column(self) -> str:
        return self.method + (BARE_SUFFIX if self.is_bare else "")

    @property
    def key(self) -> tuple[str, str, str, int]:
        """As `ResultRow.key`."""
        return (self.test.language, self.test.name, self.column, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of the page to compute now."""

    methods: Sequence[Method] = METHODS
    seeds: Sequence[int] = SEEDS
    languages: Sequence[str] | None = None


def text_of(catalogue: Catalogue, language: str) -> DataSet | None:
    """What a language adapter is trained on."""
    return next(iter(catalogue.select(task="text", language=language)), None)


def page_cells(catalogue: Catalogue) -> list[Cell]:
    """Every cell of the page, in the order in which they are computed."""
    tests = [dataset for dataset in catalogue.select(task="ner") if "test" in dataset.splits]
    seeds = sorted({*SEEDS, *IN_LANGUAGE_SEEDS})
    return [
        cell
        for seed in seeds
        for method in ORDER
        if seed in (IN_LANGUAGE_SEEDS if method == "in-language" else SEEDS)
        for test in tests
        for cell in _cells(catalogue, method, seed, test)
    ]


def chosen(cells: Iterable[Cell], choice: Choice) -> list[Cell]:
    """Raises `NoSuchLanguage`."""
    cells = list(cells)
    there = {cell.test.language for cell in cells}
    for language in choice.languages or ():
        if language not in there:
            raise NoSuchLanguage(f"no data set to test {language!r} on; there are {', '.join(sorted(there))}")
    return [
        cell
        for cell in cells
        if cell.method in choice.methods
        and cell.seed in choice.seeds
        and (choice.languages is None or cell.test.language in choice.languages)
    ]


def _cells(catalogue: Catalogue, method: Method, seed: int, test: DataSet) -> Iterator[Cell]:
    code = test.language
    has_text = text_of(catalogue, code) is not None
    if method == "in-language":
        trains_on = _training_set(catalogue, code)
        if trains_on is None:
            return
        notes = [] if trains_on == test else [f"trained on {trains_on.name}"]
        notes += [] if has_text else [f"no {code} text: trained and tested without language adapter"]
        note = "; ".join(notes) or None
        adapted_to = code if has_text else None
        yield Cell(method=method, seed=seed, test=test, trains_on=trains_on, adapted_to=adapted_to, note=note)
        return
    source = _training_set(catalogue, SOURCE)
    if source is None:
        raise NoSuchLanguage(f"the catalogue has no NER data to train on in {SOURCE!r}, which zero-shot transfer needs")
    if method == "none":
        yield Cell(method=method, seed=seed, test=test, trains_on=source, adapted_to=None)
    elif has_text:
        yield Cell(method=method, seed=seed, test=test, trains_on=source, adapted_to=code)
    else:
        reason = f"no {code} text"
        note = f"{reason}: tested with {SOURCE}'s language adapter"
        yield Cell(method=method, seed=seed, test=test, trains_on=source, adapted_to=SOURCE, note=note)
        note = f"{reason}: tested without language adapter"
        yield Cell(method=method, seed=seed, test=test, trains_on=source, adapted_to=None, note=note, is_bare=True)


def _training_set(catalogue: Catalogue, language: str) -> DataSet | None:
    candidates = catalogue.select(task="ner", language=language)
    return next((dataset for dataset in candidates if "train" in dataset.splits), None)
