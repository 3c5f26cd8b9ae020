"""What the documentation points at exists: paths of the sources set in code, and links between pages."""

import re
from pathlib import Path

import pytest

SOURCE_PATH = re.compile(r"`((?:madx|registry|trainer|service|glossa|benchmarks|tests|docs|demo)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")


@pytest.fixture
def pages(checkout: Path) -> list[Path]:
    found = [path for name in PAGES for path in (checkout / name, *(checkout / name).rglob("*.md")) if path.is_file()]
    assert len(found) > len(PAGES)
    return found


def test_source_paths_exist(checkout: Path, pages: list[Path]) -> None:
    named = {(page.name, path) for page in pages for path in SOURCE_PATH.findall(page.read_text("utf-8"))}
    assert ("architecture.md", "madx/loading.py") in named
    assert sorted(entry for entry in named if not (checkout / entry[1]).exists()) == []


def test_links_lead_somewhere(pages: list[Path]) -> None:
    links = [(page, target) for page in pages for target in LINK.findall(page.read_text("utf-8"))]
    assert links
    assert [f"{page.name}: {target}" for page, target in links if not (page.parent / target).exists()] == []
