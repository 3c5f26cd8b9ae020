"""`python -m benchmarks.results`: compute what is missing of docs/results/ner.json, cell by cell, and write the page.

Every finished cell is saved at once and every job resumes, so a run may be stopped at any time.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from glossa.home import Home
from madx.errors import GlossaError
from madx.loading import load_backbone
from registry.durable import write_file
from trainer.errors import Interrupted
from trainer.interrupts import stop_on_interrupt
from trainer.jobs.workplace import Workplace
from trainer.loop import Step
from trainer.recipe import load_recipe
from trainer.report import ResultRow, read_rows, write_rows
from trainer.run import Assessment, Estimate, Watcher

from .cells import METHODS, SEEDS, Cell, Choice, chosen, page_cells
from .page import page
from .training import Bench

ROOT = Path(__file__).resolve().parents[2]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The two files of a results page."""

    json: Path
    markdown: Path
    cells: Sequence[Cell]
    basis: str

    def rows(self) -> list[ResultRow]:
        """The finished cells that belong to the page and stand on this backbone and recipe."""
        keys = {cell.key for cell in self.cells}
        return [row for row in read_rows(self.json) if row.key in keys and row.detail.get("basis") == self.basis]

    def save(self, rows: Sequence[ResultRow]) -> None:
        self.json.parent.mkdir(parents=True, exist_ok=True)
        write_rows(self.json, rows)
        write_file(self.markdown, page(read_rows(self.json), total=len(self.cells)).encode())


def compute(bench: Bench, book: Book, choice: Choice, *, should_stop: Callable[[], bool], say: Say) -> bool:
    """Compute the chosen cells that are missing. False where it was stopped before all were there."""
    rows = book.rows()
    done = {row.key for row in rows}
    missing = [cell for cell in chosen(book.cells, choice) if cell.key not in done]
    say(f"{len(rows)} of {len(book.cells)} cells are there; {len(missing)} to compute")
    for cell in missing:
        if should_stop():
            return False
        try:
            row = bench.score(cell)
        except Interrupted as interrupted:
            say(str(interrupted))
            return False
        rows.append(row)
        book.save(rows)
        say(
            f"{len(rows)} of {len(book.cells)} cells: {row.dataset}, {row.method}, seed {row.seed}: "
            f"F1 {100 * row.score:.1f} on {row.n} sentences"
        )
    book.save(rows)
    return True


def watcher_of(name: str, *, should_stop: Callable[[], bool], say: Say) -> Watcher:
    """Says in lines how a job goes; a finished job says nothing."""

    def on_estimate(estimate: Estimate) -> None:
        say(f"{name}: {estimate.steps} steps, about {estimate.minutes:.1f} minutes")

    def on_assessment(step: int, found: Assessment) -> None:
        say(f"{name}: step {step}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.metrics.items()))

    def on_step(step: Step) -> None:
        if step.number % 100 == 0:
            say(f"{name}: step {step.number} of {step.total}, loss {step.loss:.3f}")

    return Watcher(on_estimate=on_estimate, on_assessment=on_assessment, on_step=on_step, should_stop=should_stop)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("--backbone", default=str(ROOT / "demo" / "backbone"), help="a folder or hub name")
    parser.add_argument("--home", type=Path, default=ROOT / ".cache" / "results", help="where the adapters are kept")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", help="where ner.json and ner.md lie")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS)
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="test languages; default: all")
    parser.add_argument("--max-minutes", type=float, help="stop then; the next run goes on")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, stops: Callable[[], bool], say: Say) -> None:
    began = time.monotonic()
    limit = arguments.max_minutes

    def should_stop() -> bool:
        return stops() or (limit is not None and time.monotonic() - began > 60 * limit)

    home = Home(root=arguments.home.absolute())
    home.root.mkdir(parents=True, exist_ok=True)
    loaded = load_backbone(arguments.backbone, device=torch.device(arguments.device))
    with home.registry() as registry:
        bench = Bench(
            place=Workplace(loaded=loaded, registry=registry, data=home.data_places(), runs=home.runs),
            recipe=load_recipe(arguments.recipe),
            recipe_name=arguments.recipe,
            watch=lambda name: watcher_of(name, should_stop=should_stop, say=say),
        )
        book = Book(
            json=arguments.output / "ner.json",
            markdown=arguments.output / "ner.md",
            cells=page_cells(bench.place.data.catalogue),
            basis=bench.basis,
        )
        choice = Choice(methods=arguments.methods, seeds=arguments.seeds, languages=arguments.languages)
        compute(bench, book, choice, should_stop=should_stop, say=say)
        say(f"{len(book.rows())} of {len(book.cells)} cells in {book.json}")


def main() -> int:
    arguments = _arguments()

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        with stop_on_interrupt() as stops:
            _run(arguments, stops, say)
    except GlossaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
