"""Every `glossa` line of the how-to pages is a command line that the command takes."""

import re
import shlex
from pathlib import Path

import click
import pytest

from glossa.main import glossa

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASSIGNMENT = re.compile(r"[A-Z_]+=.*")


def lines_of(page: Path) -> list[list[str]]:
    """The words of each command line after `glossa`."""
    lines = [line for block in BLOCK.findall(page.read_text("utf-8")) for line in block.splitlines()]
    found = []
    for line in lines:
        words = shlex.split(line)
        while words and ASSIGNMENT.fullmatch(words[0]):
            words.pop(0)
        if words and words[0] == "glossa":
            found.append(words[1:])
    return found


def parse(words: list[str]) -> None:
    """Raises `click.UsageError` where a command, an option or an argument is not one."""
    command: click.Command = glossa
    context = click.Context(command, info_name="glossa")
    while isinstance(command, click.Group):
        child = command.get_command(context, words[0])
        if child is None:
            raise click.UsageError(f"no command {words[0]}")
        command, words = child, words[1:]
        context = click.Context(command, info_name=command.name, parent=context)
    command.parse_args(context, list(words))


def test_commands_are_taken(checkout: Path) -> None:
    lines = [words for page in sorted((checkout / "docs" / "how-to").glob("*.md")) for words in lines_of(page)]
    assert ["adapters", "push", "lang-sw-news", "--name", "lang-sw-news"] in lines
    for words in lines:
        parse(words)


@pytest.mark.parametrize("line", ["adapters push", "adapters shove x", "adapters list --colour red"])
def test_the_check_sees_what_is_wrong(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line.split())
