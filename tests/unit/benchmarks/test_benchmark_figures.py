"""The result file of benchmarks: its form, and what counts as a ratio."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.figures import Absolute, Figure, Ratio, write_figures


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    ratio = Ratio(samples=((4.0, 2.0), (9.0, 3.0), (100.0, 1.0), (5.0, 2.0), (1.0, 1.0)))
    assert ratio.value == 2.5


def test_a_ratio_of_few_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5 rounds, not 4"):
        Ratio(samples=((1.0, 1.0),) * 4)


def test_the_file_holds_samples_values_and_circumstances(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    figures: dict[str, Figure] = {"speed": Ratio(samples=((3.0, 2.0),) * 5), "size": Absolute(value=7.5, unit="MiB")}
    write_figures(path, figures, dtype="float32", device="cpu")
    content = json.loads(path.read_text())
    assert content["figures"] == {"speed": {"samples": [[3.0, 2.0]] * 5}, "size": {"value": 7.5, "unit": "MiB"}}
    assert (content["dtype"], content["device"]) == ("float32", "cpu")
    assert all(isinstance(flag, str) for flag in content["cpu_flags"])
    assert datetime.fromisoformat(content["date"]).tzinfo is not None
    assert [file.name for file in path.parent.iterdir()] == ["figures.json"]
