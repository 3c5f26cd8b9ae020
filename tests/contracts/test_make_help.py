"""The Makefile is the one list of commands: `make help` names every target, with one line of help each."""

import re
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def targets(checkout: Path) -> set[str]:
    """Everything one can ask make for by name, read off the rules."""
    makefile = (checkout / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", makefile, flags=re.MULTILINE))


def test_every_target_has_help(checkout: Path, targets: set[str]) -> None:
    output = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    helped = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert set(helped) == targets
    assert all(text.strip() for text in helped.values())


def test_the_readme_names_real_targets(checkout: Path, targets: set[str]) -> None:
    pages = [checkout / "README.md", checkout / "CONTRIBUTING.md", *(checkout / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\bmake ([a-z][\w-]*)", _code(page.read_text("utf-8")))}
    assert {"demo", "test"} <= named
    assert named <= targets


def _code(page: str) -> str:
    """What a page sets in code: prose may say "make sure"."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page, flags=re.DOTALL))


def test_continuous_integration_runs_the_readme_test_command(checkout: Path) -> None:
    script = (checkout / ".ci" / "run").read_text("utf-8")
    commands = [line.partition("#")[0].split() for line in script.splitlines() if line.startswith("make ")]
    assert {"test", "interop"} <= {word for command in commands for word in command[1:]}


def test_phony_targets_are_declared(checkout: Path, targets: set[str]) -> None:
    makefile = (checkout / "Makefile").read_text("utf-8")
    declared = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert declared is not None
    assert set(declared[1].split()) == targets
