"""docs/registry.md tells of every table and every refusal there is, and its example runs."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from madx.errors import InvalidWeights
from registry import refusals
from registry.models import Table
from registry.registry import open_registry
from tests.support.made_adapters import add_made_backbone, made_adapter, written


def refusal_classes() -> list[type[InvalidWeights]]:
    found = (value for _, value in inspect.getmembers(refusals, inspect.isclass))
    return [value for value in found if issubclass(value, InvalidWeights) and value is not InvalidWeights]


def test_every_table_is_told_of(checkout: Path) -> None:
    page = (checkout / "docs" / "registry.md").read_text("utf-8")
    _, _, tables = page.partition("## Tables")
    first_cells = [line.split("|")[1] for line in tables.splitlines() if line.startswith("|")]
    told = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert told == set(Table.metadata.tables)


def test_every_refusal_is_told_of(checkout: Path) -> None:
    page = (checkout / "docs" / "registry.md").read_text("utf-8")
    table = page[page.index("code of its own:") :].partition("|---|")[2].partition("\n\n")[0]
    told = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(told) == sorted(refusal.code for refusal in refusal_classes())


def test_no_code_is_used_twice() -> None:
    codes = [InvalidWeights.code, *(refusal.code for refusal in refusal_classes())]
    assert sorted(codes) == sorted(set(codes))


def test_the_example_runs(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (checkout / "docs" / "registry.md").read_text("utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    manifest, weights = made_adapter()
    written(tmp_path / "manifest.json", manifest)
    written(tmp_path / "weights.safetensors", weights)
    registry = open_registry(tmp_path / "home")
    add_made_backbone(registry)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the text is our own page
    assert names["version"].reference == "sw-mlm@1"
    with names["weights"] as stream:
        assert stream.read() == weights
    names["registry"].close()
    registry.close()
