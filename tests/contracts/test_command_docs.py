"""docs/commands.md lists every command with the first sentence of its help, and every variable that glossa/ reads."""

import re
from pathlib import Path

import click
import pytest

from glossa.main import glossa

ROW = re.compile(r"^\| `glossa ([a-z ]+)` \| (.+) \|$", re.MULTILINE)
VARIABLE = re.compile(r"^\| `(GLOSSA_[A-Z_]+)` \|", re.MULTILINE)
READ = re.compile(r"\"(GLOSSA_[A-Z_]+)\"")


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> dict[str, str]:
    """Command -> first sentence of its help."""
    if not isinstance(command, click.Group):
        paragraph = " ".join((command.help or "").split("\n\n")[0].split())
        return {" ".join(path): re.split(r"(?<=\.) (?=[A-Z])", paragraph)[0]}
    found: dict[str, str] = {}
    for name, child in command.commands.items():
        found.update(leaves(child, (*path, name)))
    return found


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "commands.md").read_text("utf-8")


def test_commands_are_those_of_the_page(page: str) -> None:
    assert dict(ROW.findall(page)) == leaves(glossa)


def test_variables_are_those_that_are_read(page: str, checkout: Path) -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (checkout / "glossa").rglob("*.py"))
    assert set(VARIABLE.findall(page)) == set(READ.findall(sources))
