"""The pages of measured figures say what the result files beside them hold."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
PAGES = ("avx2", "http", "serving")
VALUE = re.compile(
    r"^\| `(?P<key>\w+)` \| \*\*(?P<value>-?[\d.]+)\*\*(?: \| (?P<top>[\d,]*\d) over (?P<bottom>[\d,]*\d))?", re.M
)
PRECISION = re.compile(
    r"^\| `(?P<name>auto|int8)`[^|]* \| (?P<rows>[\d.]+) % \| (?P<words>[\d.]+) % \| (?P<drift>[\d.]+) %", re.M
)


def figures(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{page}.json").read_text())["figures"]
    return found


def ratios() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from ((page, key) for key, figure in figures(page).items() if "samples" in figure)


def stated(page: str) -> dict[str, re.Match[str]]:
    return {match["key"]: match for match in VALUE.finditer((FOLDER / f"{page}.md").read_text("utf-8"))}


@pytest.mark.parametrize("page", PAGES)
def test_every_stated_value_is_that_of_the_result_file(page: str) -> None:
    for key, match in stated(page).items():
        figure = figures(page)[key]
        value = median(top / bottom for top, bottom in figure["samples"]) if "samples" in figure else figure["value"]
        decimals = len(match["value"].partition(".")[2])
        assert match["value"] == f"{value:.{decimals}f}", key


@pytest.mark.parametrize(("page", "key"), list(ratios()))
def test_every_measured_ratio_is_stated_with_its_speeds(page: str, key: str) -> None:
    match = stated(page)[key]
    if page == "serving":
        columns = zip(*figures(page)[key]["samples"], strict=True)
        assert [match["top"], match["bottom"]] == [f"{median(column):,.0f}" for column in columns]


def test_what_a_precision_costs_is_that_of_the_result_file() -> None:
    found = figures("serving")
    matches = list(PRECISION.finditer((FOLDER / "serving.md").read_text("utf-8")))
    assert {match["name"] for match in matches} == {"auto", "int8"}
    for match in matches:
        name = match["name"]
        assert match["rows"] == f"{found[f'label_agreement_{name}']['value']:.2f}"
        assert match["words"] == f"{found[f'word_agreement_{name}']['value']:.2f}"
        assert match["drift"] == f"{100 * found[f'drift_{name}']['value']:.1f}"
