"""The README's map of folders is the tree: what it lists exists, and what exists is listed."""

import re
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("madx", "registry", "trainer", "service", "glossa")
LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w.-]+/?)(?: {2,}\S.*)?$")


def read_map(readme: str) -> dict[str, set[str]]:
    """Top-level folder -> what is listed in it, folders with a final slash."""
    block = readme.split("## Map of folders")[1].split("```")[1].partition("\n")[2]
    folders: dict[str, set[str]] = {}
    top = ""
    for line in block.splitlines():
        match = LINE.match(line)
        assert match, f"README: {line!r} is no line of the map: name, two spaces, what it is"
        if match["indent"]:
            folders[top].add(match["name"])
        else:
            top = match["name"].rstrip("/")
            folders[top] = set()
    return folders


def listing(folder: Path) -> set[str]:
    """The modules and folders of a package."""
    files = {path.name for path in folder.glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.name}/" for path in folder.iterdir() if path.is_dir() and not path.name.startswith("__")}
    return files | folders


@pytest.fixture
def mapped(checkout: Path) -> dict[str, set[str]]:
    return read_map((checkout / "README.md").read_text("utf-8"))


def test_top_level_folders_are_those_of_the_repository(checkout: Path, mapped: dict[str, set[str]]) -> None:
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert set(mapped) == {path.partition("/")[0] for path in tracked if "/" in path}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_listed_whole(package: str, checkout: Path, mapped: dict[str, set[str]]) -> None:
    assert mapped[package] == listing(checkout / package)


def test_everything_listed_exists(checkout: Path, mapped: dict[str, set[str]]) -> None:
    lacking = [
        f"{top}/{name}" for top, names in mapped.items() for name in names if not (checkout / top / name).exists()
    ]
    assert lacking == []
