"""The project's own sources, parsed once."""

import ast
from pathlib import Path

import pytest

PACKAGES = ("madx", "registry", "trainer", "service", "glossa")


def _parse(checkout: Path, *folders: str) -> dict[str, ast.Module]:
    paths = sorted(path for folder in folders for path in (checkout / folder).rglob("*.py"))
    return {path.relative_to(checkout).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths}


@pytest.fixture(scope="session")
def package_sources(checkout: Path) -> dict[str, ast.Module]:
    """The five packages: path from the top folder -> syntax tree."""
    return _parse(checkout, *PACKAGES)


@pytest.fixture(scope="session")
def all_sources(checkout: Path) -> dict[str, ast.Module]:
    """Everything written in Python here, tests included."""
    return _parse(checkout, *PACKAGES, "benchmarks", "demo", "tests")
