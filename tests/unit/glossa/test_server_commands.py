"""Registry commands on a server print what they print on this machine's registry, and push and pull real files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glossa.folders import read_folder
from registry.access import create_key
from registry.evaluations import Measurement, record_evaluation
from tests.support.adapter_folders import write_folder
from tests.support.listening import Listener, listening
from tests.support.served import Home, make_home
from tests.support.tiny import language_checkpoint, task_checkpoint

Glossa = Any
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z)?")

SCRIPT = """
adapters list
adapters list --json
adapters list --kind language --limit 1
adapters list --label LOC --task ner
adapters list --query x
adapters list --backbone nobody's
adapters list --language klingonese
adapters push FOLDER/ha --name ha
adapters push FOLDER/ha --name ha
adapters push FOLDER/ha-2 --name ha --json
adapters push FOLDER/ha --name ner
adapters push FOLDER/nowhere --name ha
adapters versions ha
adapters versions ha --limit 1 --json
adapters show ha
adapters show ha@1 --json
adapters show ha@9
adapters show nobody
adapters show ner@nowhere
adapters lineage ner
adapters lineage ha@1 --json
adapters evaluations ner
adapters evaluations ner@1 --json
adapters evaluations ha
adapters alias ha@1 production
adapters alias ha@2 production --expect 0
adapters alias ha@2 production --expect 1 --json
adapters alias ha@7 production
adapters alias ha@1 Production
adapters alias ha@production canary
adapters list --query ha
adapters delete ha@2
adapters delete ha
adapters unalias ha@production --expect 1
adapters unalias ha@production
adapters unalias ha@production
adapters unalias ha@canary --json
adapters history ha@nobody
adapters delete ha@2 --json
adapters versions ha
adapters versions ha --deleted
adapters show ha@2
adapters restore ha@2
adapters restore ha@9
adapters default ner
adapters default ner@1 --json
adapters delete ner@1
adapters default ner --clear
adapters default ner --clear
backbones list
backbones list --json
adapters pull ha@1 --output FOLDER/out
adapters pull ha --output FOLDER/out --json
adapters pull ha@9 --output FOLDER/out
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = make_home(tmp_path_factory.mktemp("commands"))
    with home.registry() as registry:
        record_evaluation(registry, "ner", 1, Measurement(metric="entity-f1", score=0.5, dataset="d", split="test"))
    return home


@pytest.fixture
def served(made: Home, tmp_path: Path) -> Home:
    return made.copy(tmp_path / "served")


@pytest.fixture
def server(served: Home) -> Iterator[Listener]:
    with listening(served.settings()) as listener:
        yield listener


@pytest.fixture
def folder(made: Home, tmp_path: Path) -> Path:
    write_folder(tmp_path / "ha", *language_checkpoint(made.loaded, "ha", seed=5))
    write_folder(tmp_path / "ha-2", *language_checkpoint(made.loaded, "ha", seed=6))
    write_folder(tmp_path / "ner", *task_checkpoint(made.loaded, seed=7))
    return tmp_path


def transcript(glossa: Glossa, folder: Path, *more: str) -> list[tuple[str, int, str, str]]:
    """Each line of the script with what came of it, moments left out."""
    found = []
    for line in SCRIPT.strip().splitlines():
        done = glossa(*line.replace("FOLDER", str(folder)).split(), *more)
        found.append((line, done.status, MOMENT.sub("MOMENT", done.out), MOMENT.sub("MOMENT", done.err)))
    return found


def test_a_server_is_worked_on_as_this_machine_is(
    glossa: Glossa, made: Home, server: Listener, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = transcript(glossa, folder, "--server", server.address)
    for path in (folder / "out").iterdir():
        path.unlink()
    monkeypatch.setenv("GLOSSA_HOME", str(made.copy(tmp_path / "local").folder))
    local = transcript(glossa, folder)
    for here, there in zip(local, remote, strict=True):
        assert there == here
    statuses = {line: status for line, status, _, _ in local}
    assert statuses["adapters delete ner@1"] == 1
    assert statuses["adapters pull ha --output FOLDER/out --json"] == 0
    assert set(statuses.values()) == {0, 1, 2}


def test_what_was_pushed_is_pulled_byte_for_byte(glossa: Glossa, server: Listener, folder: Path) -> None:
    assert (
        glossa("adapters", "push", folder / "ha", "--name", "ha", "--server", server.address).out == "ha@1 published\n"
    )
    done = glossa("adapters", "pull", "ha", "--output", folder / "out", "--server", server.address)
    assert done.out == f"ha@1 written to {folder / 'out'}\n"
    given, back = read_folder(folder / "ha"), read_folder(folder / "out")
    assert back.manifest == given.manifest
    assert back.weights.read_bytes() == given.weights.read_bytes()


def test_the_server_may_stand_in_the_environment(
    glossa: Glossa, server: Listener, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOSSA_SERVER", server.address)
    assert "sw@1" in glossa("adapters", "list").out
    assert "ran en@1, ner@1" in glossa("predict", "--language", "en", "Juma lives in Nairobi").err
    monkeypatch.setenv("GLOSSA_SERVER", "")
    assert glossa("adapters", "list", "--json").out.strip() == "[]"


def test_who_moved_an_alias_is_told(glossa: Glossa, server: Listener) -> None:
    glossa("adapters", "alias", "sw@1", "production", "--server", server.address)
    glossa("adapters", "unalias", "sw@production", "--server", server.address)
    lines = glossa("adapters", "history", "sw@production", "--server", server.address).out.splitlines()
    assert lines[0].split() == ["revision", "to", "by", "at"]
    assert lines[1].split()[:3] == ["1", "sw@1", "anonymous"]
    assert lines[2].split()[:3] == ["2", "removed", "anonymous"]


def test_no_server_is_a_line(glossa: Glossa, folder: Path) -> None:
    for arguments in (("list",), ("show", "sw"), ("push", folder / "ha", "--name", "ha")):
        done = glossa("adapters", *arguments, "--server", "http://127.0.0.1:9")
        assert done.status == 1
        assert done.err.startswith("error: no answer from http://127.0.0.1:9")
        assert done.err.count("\n") == 1


def test_a_server_with_keys_is_worked_on_with_one(
    glossa: Glossa, made: Home, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = made.copy(tmp_path / "keyed")
    with served.registry() as registry:
        _, secret = create_key(registry, name="laptop", role="write", pattern="ha*", actor="local")
    with listening(served.settings(keys="required")) as server:
        monkeypatch.setenv("GLOSSA_SERVER", server.address)
        without = glossa("adapters", "list")
        assert without.status == 1
        assert "GLOSSA_API_KEY" in without.err
        monkeypatch.setenv("GLOSSA_API_KEY", secret)
        assert glossa("adapters", "push", folder / "ha", "--name", "ha").out == "ha@1 published\n"
        assert glossa("adapters", "alias", "ha@1", "production").status == 0
        assert "laptop" in glossa("adapters", "history", "ha@production").out
        refused = glossa("adapters", "push", folder / "ner", "--name", "ner")
        assert (refused.status, "ha*" in refused.err) == (1, True)
        for shown in (without, refused):
            assert secret not in shown.out + shown.err
