"""Results as rows, kept as a JSON list beside a markdown page: languages down, methods across, mean over seeds.

A finished cell stays in the file, so a later run computes only what is missing. Formatting is deterministic.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev

from pydantic import TypeAdapter, ValidationError

from madx.errors import GlossaError
from madx.manifest import JsonScalar
from registry.durable import write_file


class InvalidResults(GlossaError):
    """A results file that is not a list of rows."""

    code = "invalid_results"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One finished cell. `score` is between 0 and 1, `n` counts test sentences; `detail` holds what else matters."""

    language: str
    method: str
    seed: int
    score: float
    n: int
    dataset: str
    note: str | None = None
    detail: dict[str, JsonScalar] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        return (self.language, self.dataset, self.method, self.seed)


_ROWS = TypeAdapter(list[ResultRow])


def read_rows(path: Path) -> list[ResultRow]:
    """The rows of a results file, none where there is no file. Raises `InvalidResults`."""
    try:
        return _ROWS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidResults(f"{path} is no list of result rows: {place}: {first['msg']}") from error


def write_rows(path: Path, rows: Iterable[ResultRow]) -> None:
    """One row a line, sorted, the last of several with one key; replaces the file in one rename."""
    last = {row.key: row for row in rows}
    lines = [json.dumps(asdict(last[key]), ensure_ascii=False, sort_keys=True, allow_nan=False) for key in sorted(last)]
    content = "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"
    write_file(path, content.encode())


def markdown_table(rows: Sequence[ResultRow], methods: Sequence[str]) -> str:
    """Entity F1 in per cent. Cells of several seeds read `mean ± standard deviation`; empty cells are not computed.

    The last line holds each method's mean over the languages that all methods have.
    """
    cells: dict[tuple[str, str], dict[str, list[ResultRow]]] = {}
    for row in rows:
        cells.setdefault((row.language, row.dataset), {}).setdefault(row.method, []).append(row)
    lines = [
        "| language | test set | sentences | " + " | ".join(methods) + " |",
        "|---|---|--:|" + "--:|" * len(methods),
    ]
    for language, dataset in sorted(cells):
        by_method = cells[language, dataset]
        sizes = sorted({row.n for group in by_method.values() for row in group})
        values = [_cell(by_method.get(method, [])) for method in methods]
        lines.append(f"| {language} | {dataset} | {'/'.join(map(str, sizes))} | " + " | ".join(values) + " |")
    complete = [by_method for by_method in cells.values() if all(method in by_method for method in methods)]
    if complete:
        means = [mean(_mean(by_method[method]) for by_method in complete) for method in methods]
        lines.append(
            f"| **mean of {len(complete)}** | | | " + " | ".join(f"{100 * value:.1f}" for value in means) + " |"
        )
    return "\n".join(lines) + "\n"


def notes(rows: Iterable[ResultRow]) -> str:
    """The distinct notes of rows as a markdown list, sorted."""
    found = sorted({f"{row.language}, {row.method}: {row.note}" for row in rows if row.note})
    return "".join(f"- {note}\n" for note in found)


def _mean(group: Sequence[ResultRow]) -> float:
    return mean(row.score for row in group)


def _cell(group: Sequence[ResultRow]) -> str:
    if not group:
        return ""
    middle = f"{100 * _mean(group):.1f}"
    if len(group) == 1:
        return middle
    return f"{middle} ± {100 * stdev(row.score for row in group):.1f}"
