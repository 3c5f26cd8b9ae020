"""Every command by itself: help, listings, and errors that are one line and say what to do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from glossa.main import glossa as group

Glossa = Any


def _paths(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    children = command.commands.items() if isinstance(command, click.Group) else ()
    return [path, *(found for name, child in children for found in _paths(child, (*path, name)))]


@pytest.mark.parametrize("path", _paths(group), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...], glossa: Glossa) -> None:
    done = glossa(*path, "--help")
    assert done.status == 0
    assert "Usage: glossa" in done.out
    assert done.err == ""


def test_the_commands_are_those_of_the_design() -> None:
    assert {" ".join(path) for path in _paths(group)} >= {
        "serve", "train language", "train task", "pretrain", "evaluate", "predict", "demo",
        "adapters list", "adapters show", "adapters push", "adapters pull", "adapters alias", "adapters default",
        "backbones list", "backbones add", "backbones convert", "data list", "data pull",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("adapters", "show", "nobody"), 1, "no adapter 'nobody'"),
        (("adapters", "show", "Not A Name"), 1, "is no valid name"),
        (("adapters", "push", "/nowhere", "--name", "x"), 1, "is no adapter folder"),
        (("data", "pull", "made-ner-ens"), 1, "did you mean made-ner-en"),
        (("data", "list", "--language", "klingonese"), 1, "no BCP 47"),
        (("backbones", "add", "/nowhere/at/all"), 1, "there is no folder"),
        (("train", "language", "--language", "sw", "--data", "made-text-sw", "--recipe", "mad-y"), 1, "did you mean"),
        (("train", "language", "--language", "qqqq1", "--data", "made-text-sw"), 1, "no BCP 47"),
        (("train", "task", "--data", "made-ner-en"), 2, "give --language"),
        (("train", "task", "--data", "made-ner-en", "--language", "sw"), 1, "no adapter for language 'sw'"),
        (("evaluate", "--target", "/some/file.txt"), 1, "name its language"),
        (("evaluate", "--target", "made-ner-sw"), 1, "no adapter for task 'ner'"),
        (("evaluate", "--language-adapter", "sw"), 2, "not of the form KEY=VALUE"),
        (("predict", "--server", "http://127.0.0.1:9", "Juma"), 1, "is the server running?"),
        (("predict", "--server", "no address", "Juma"), 1, "is no address"),
        (("serve", "--port", "80000"), 2, "80000"),
        (("serve", "--host", "203.0.113.7", "--port", "0", "--keys", "off"), 1, "choose another --port"),
        (("serve", "--host", "203.0.113.7", "--port", "0"), 1, "glossa keys create"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_an_error_is_a_line_that_says_what_to_do(
    arguments: tuple[str, ...], status: int, says: str, glossa: Glossa
) -> None:
    done = glossa(*arguments)
    assert done.status == status
    assert done.out == ""
    assert says in done.err
    assert "Traceback" not in done.err
    if status == 1:
        (line,) = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
        assert line.startswith("error: ")


def test_a_wrong_setting_is_named(glossa: Glossa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSA_BLOB_URL", "ftp://somewhere")
    done = glossa("adapters", "list")
    assert done.status == 1
    assert "supported: file://" in done.err


@pytest.fixture
def fault() -> Iterator[None]:
    """A command that fails as no command should."""

    def fail() -> None:
        raise RuntimeError("two\nlines")

    group.add_command(click.Command("fault", callback=fail))
    yield
    del group.commands["fault"]


def test_an_unexpected_error_has_no_traceback_unless_asked_for(
    fault: None, glossa: Glossa, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = glossa("fault")
    assert done.status == 1
    assert done.err.startswith("error: this is a fault of glossa itself: RuntimeError: two lines;")
    assert done.err.count("\n") == 1
    monkeypatch.setenv("GLOSSA_DEBUG", "1")
    with pytest.raises(RuntimeError):
        glossa("fault")


def test_a_place_that_cannot_be_written_is_named(trained: Glossa, tmp_path: Path) -> None:
    home = tmp_path / "home" / "runs"
    home.rename(tmp_path / "elsewhere")
    home.write_text("a file where a folder must be")
    done = trained("train", "language", "--language", "sw", "--data", "made-text-sw", "--recipe", "demo")
    assert done.status == 1
    assert str(home) in done.err
    assert done.err.count("\n") == 1


def test_a_home_that_cannot_be_made_is_a_line(glossa: Glossa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLOSSA_HOME", str(tmp_path / "file" / "home"))
    done = glossa("adapters", "list")
    assert done.status == 1
    assert "fault of glossa" not in done.err
    assert "Traceback" not in done.err


def test_a_broken_data_line_is_named_by_file_and_number(glossa: Glossa, tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text("Juma B-PER\nlives O\nhere\n", encoding="utf-8")
    done = glossa("train", "task", "--data", broken, "--language-adapter", "none", "--name", "ner")
    assert done.status == 1
    assert f"{broken}:3" in done.err


def test_the_catalogue_is_listed_and_filtered(glossa: Glossa) -> None:
    items = json.loads(glossa("data", "list", "--language", "swa", "--json").out)
    here = {item["name"]: item["here"] for item in items}
    assert here["made-ner-sw"] is True
    assert here["masakhaner-swa"] is False
    table = glossa("data", "list", "--task", "text", "--language", "sw").out
    assert "made-text-sw" in table
    assert "made-ner-sw" not in table


def test_a_backbone_is_added_and_listed(glossa: Glossa, made_folder: Path) -> None:
    added = json.loads(glossa("backbones", "add", made_folder / "backbone", "--name", "tiny", "--json").out)
    (listed,) = json.loads(glossa("backbones", "list", "--json").out)
    assert listed == added
    assert listed["name"] == "tiny"
    assert listed["fingerprint"][:12] in glossa("backbones", "list").out


def test_nothing_is_said_as_such(glossa: Glossa) -> None:
    assert "no adapters" in glossa("adapters", "list").out
    assert glossa("adapters", "list", "--json").out.strip() == "[]"
