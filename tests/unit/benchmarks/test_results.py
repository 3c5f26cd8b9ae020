"""The results page: which cells it has, that only missing ones are computed, and that a stopped run goes on."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.results.__main__ import Book, compute, watcher_of
from benchmarks.results.cells import Cell, Choice, NoSuchLanguage, chosen, page_cells
from benchmarks.results.training import Bench
from madx.loading import load_backbone
from registry.datasets.catalogue import Catalogue, load_catalogue
from registry.datasets.entries import read_entries
from tests.support.own_catalogue import write_catalogue
from tests.support.tiny import make_backbone
from tests.support.training import LANGUAGE_RECIPE, TASK_RECIPE, workplace
from trainer.jobs.workplace import Workplace
from trainer.recipe import Recipe
from trainer.run import Watcher

RECIPE = Recipe(source="made for tests", language=LANGUAGE_RECIPE, task=TASK_RECIPE)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    path = write_catalogue(tmp_path, sentences=120)
    return Catalogue(datasets=read_entries(path.read_text("utf-8"), place=str(path), folder=tmp_path))


@pytest.fixture
def place(tmp_path: Path, catalogue: Catalogue) -> Iterator[Workplace]:
    loaded = load_backbone(make_backbone(tmp_path / "backbone"))
    made = workplace(tmp_path / "home", loaded, catalogue=catalogue)
    yield made
    made.registry.close()


class Bound:
    """A results book with what it said, and a stop after a number of training steps' questions."""

    def __init__(self, place: Workplace, folder: Path) -> None:
        self.place = place
        self.lines: list[str] = []
        self.questions = 0
        self.stop_at: int | None = None
        self.bench = Bench(place=place, recipe=RECIPE, recipe_name="made", watch=self._watcher)
        self.book = Book(
            json=folder / "ner.json",
            markdown=folder / "ner.md",
            cells=page_cells(place.data.catalogue),
            basis=self.bench.basis,
        )

    def _watcher(self, name: str) -> Watcher:
        return watcher_of(name, should_stop=self.should_stop, say=self.lines.append)

    def should_stop(self) -> bool:
        self.questions += 1
        return self.stop_at is not None and self.questions >= self.stop_at

    def compute(self, choice: Choice) -> bool:
        return compute(self.bench, self.book, choice, should_stop=self.should_stop, say=self.lines.append)


@pytest.fixture
def bound(place: Workplace, tmp_path: Path) -> Bound:
    return Bound(place, tmp_path / "results")


def _cells(cells: list[Cell], language: str, seed: int) -> dict[str, tuple[str, str | None]]:
    return {
        cell.column: (cell.trains_on.name, cell.adapted_to)
        for cell in cells
        if cell.test.language == language and cell.seed == seed
    }


def test_a_language_with_text_has_four_cells_in_the_first_seed_and_three_in_the_second(catalogue: Catalogue) -> None:
    cells = page_cells(catalogue)
    assert _cells(cells, "sw", 1) == {
        "none": ("made-ner-en", None),
        "language": ("made-ner-en", "sw"),
        "language+invertible": ("made-ner-en", "sw"),
        "in-language": ("made-ner-sw", "sw"),
    }
    assert set(_cells(cells, "sw", 2)) == {"none", "language", "language+invertible"}


def test_a_language_without_text_runs_with_english_and_with_none_and_says_so(catalogue: Catalogue) -> None:
    cells = [cell for cell in page_cells(catalogue) if cell.test.language == "pcm" and cell.seed == 1]
    assert _cells(cells, "pcm", 1) == {
        "none": ("made-ner-en", None),
        "language": ("made-ner-en", "en"),
        "language, none at test": ("made-ner-en", None),
        "language+invertible": ("made-ner-en", "en"),
        "language+invertible, none at test": ("made-ner-en", None),
        "in-language": ("made-ner-pcm", None),
    }
    assert all("no pcm text" in str(cell.note) for cell in cells if cell.method != "none")


def test_the_shipped_catalogue_gives_every_test_language() -> None:
    cells = page_cells(load_catalogue())
    assert {cell.test.language for cell in cells} == {
        "en", "pt", "zh", "ha", "rw", "lg", "pcm", "sw", "yo", "bm", "zu",
    }  # fmt: skip
    assert len({cell.key for cell in cells}) == len(cells)
    (pud,) = [cell for cell in cells if cell.test.name == "uner-english-pud" and cell.method == "in-language"]
    assert pud.note == "trained on uner-english-ewt"


def test_an_unknown_language_is_refused_with_those_there_are(catalogue: Catalogue) -> None:
    with pytest.raises(NoSuchLanguage, match="there are en, pcm, sw"):
        chosen(page_cells(catalogue), Choice(languages=["xx"]))


@pytest.mark.slow
def test_only_missing_cells_are_computed_and_the_page_has_them_all(bound: Bound) -> None:
    assert bound.compute(Choice(seeds=(1,), languages=("sw", "pcm")))
    rows = {(row["language"], row["method"]): row for row in json.loads(bound.book.json.read_bytes())}
    assert len(rows) == 10
    made = rows["sw", "language+invertible"]
    assert made["n"] == 120
    assert 0 <= made["score"] <= 1
    assert rows["sw", "in-language"]["score"] > 0.1
    assert made["detail"]["language_adapter"] == "lang-sw@1"
    assert made["detail"]["data"] == "made-ner-en"
    assert made["detail"]["steps"] > 0
    assert rows["sw", "language"]["detail"]["language_adapter"] == "lang-sw-plain@1"
    assert rows["pcm", "language, none at test"]["detail"]["language_adapter"] is None
    page = bound.book.markdown.read_text("utf-8")
    assert "10 of 25 cells" in page
    assert "Languages without text (pcm)" in page

    bound.lines.clear()
    before = bound.book.json.read_bytes()
    assert bound.compute(Choice(seeds=(1,), languages=("sw", "pcm")))
    assert bound.lines == ["10 of 25 cells are there; 0 to compute"]
    assert bound.book.json.read_bytes() == before


@pytest.mark.slow
def test_a_stopped_run_keeps_its_cells_and_goes_on(bound: Bound) -> None:
    choice = Choice(methods=("language+invertible",), seeds=(1,), languages=("sw",))
    bound.stop_at = 5
    assert not bound.compute(choice)
    assert bound.lines[-1].startswith("stopped after step")
    assert not bound.book.json.exists()
    bound.stop_at = None
    assert bound.compute(choice)
    assert [row.key for row in bound.book.rows()] == [("sw", "made-ner-sw", "language+invertible", 1)]


@pytest.mark.slow
def test_cells_of_another_recipe_count_as_missing(bound: Bound) -> None:
    choice = Choice(methods=("none",), seeds=(1,), languages=("sw",))
    assert bound.compute(choice)
    other = Book(json=bound.book.json, markdown=bound.book.markdown, cells=bound.book.cells, basis="another")
    assert other.rows() == []
