"""Result rows: kept as JSON, shown as a table, formatted the same way every time."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainer.report import InvalidResults, ResultRow, markdown_table, notes, read_rows, write_rows

ROW = ResultRow(language="sw", method="adapter", seed=1, score=0.5, n=100, dataset="made", detail={"steps": 3})


def test_rows_come_back_sorted_and_a_later_cell_replaces_its_elder(tmp_path: Path) -> None:
    path = tmp_path / "ner.json"
    assert read_rows(path) == []
    better = replace(ROW, score=0.75)
    other = replace(ROW, language="ha", note="stands in")
    write_rows(path, [ROW, other, better])
    assert read_rows(path) == [other, better]
    first = path.read_bytes()
    write_rows(path, [better, other])
    assert path.read_bytes() == first
    assert len(first.splitlines()) == 4
    write_rows(path, [])
    assert read_rows(path) == []


def test_what_is_no_result_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ner.json"
    path.write_text('[{"language": "sw"}]')
    with pytest.raises(InvalidResults, match=r"ner\.json is no list of result rows: 0\.method"):
        read_rows(path)


def test_the_table_has_means_spreads_and_gaps() -> None:
    rows = [
        replace(ROW, method="none", score=0.4),
        replace(ROW, score=0.5),
        replace(ROW, score=0.7, seed=2),
        replace(ROW, language="ha", score=0.123, n=20),
    ]
    assert markdown_table(rows, ["none", "adapter"]).splitlines() == [
        "| language | test set | sentences | none | adapter |",
        "|---|---|--:|--:|--:|",
        "| ha | made | 20 |  | 12.3 |",
        "| sw | made | 100 | 40.0 | 60.0 ± 14.1 |",
        "| **mean of 1** | | | 40.0 | 60.0 |",
    ]
    assert markdown_table(rows[::-1], ["none", "adapter"]) == markdown_table(rows, ["none", "adapter"])


def test_notes_are_listed_once() -> None:
    rows = [replace(ROW, note="why", seed=seed) for seed in (1, 2)] + [ROW]
    assert notes(rows) == "- sw, adapter: why\n"
