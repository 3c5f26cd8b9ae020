"""`glossa import adapterhub owner/name`: the real hub client in a process of its own, against a hub on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_folders import adapter_config, adapter_tensors, write, write_language
from tests.support.hub_server import commit_of, hub_server

Glossa = Any
NAME = "AdapterHub/xlm-roberta-base-sw-wiki_pfeiffer"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """One repository with two branches, and the stray files that some have."""
    root = tmp_path / "hub"
    main = write_language(root / NAME / "main")
    (main / "._pytorch_adapter.bin").write_bytes(b"junk")
    (main / "README.md").write_text("A card.")
    (main / "video.mp4").write_bytes(b"not wanted")
    write(root / NAME / "madx", adapter_config("sw", scaling=2.0), adapter_tensors(seed=9), safe=True)
    with hub_server(root) as address:
        yield address


def call(address: str, tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "no_proxy": "*"}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", "from glossa.main import main; main()", "import", "adapterhub", *arguments]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)


def test_a_name_and_its_branches(hub: str, glossa: Glossa, made_folder: Path, tmp_path: Path) -> None:
    assert glossa("backbones", "add", made_folder / "backbone", "--name", "xlm-roberta-base").status == 0
    done = call(hub, tmp_path, NAME, "--name", "hub-sw", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reference"] == "hub-sw@1"
    assert not list((tmp_path / "hf").rglob("*.mp4"))
    other = call(hub, tmp_path, NAME, "--name", "hub-sw", "--revision", "madx", "--json")
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout)["reference"] == "hub-sw@2"
    for number, branch, scaling in ((1, "main", 1.0), (2, "madx", 2.0)):
        manifest = json.loads(glossa("adapters", "show", f"hub-sw@{number}", "--json").out)["manifest"]
        assert manifest["config"]["scaling"] == scaling
        assert manifest["hyper_parameters"]["adapterhub.repository"] == NAME
        assert manifest["hyper_parameters"]["adapterhub.commit"] == commit_of(branch)


def test_what_the_hub_does_not_have(hub: str, home: Path, tmp_path: Path) -> None:
    for arguments, says in [
        (("AdapterHub/nobody",), "the hub does not give AdapterHub/nobody ("),
        ((NAME, "--revision", "nd"), "at revision 'nd'"),
        (("sw/wiki@ukp",), "the hub does not give sw/wiki@ukp"),
    ]:
        done = call(hub, tmp_path, *arguments, "--name", "hub-sw")
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.count("\n") == 1, done.stderr
        assert says in done.stderr


def test_a_hub_that_cannot_be_reached(home: Path, tmp_path: Path) -> None:
    done = call("http://127.0.0.1:9", tmp_path, NAME, "--name", "hub-sw")
    assert done.returncode == 1
    assert "check the name and the connection" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_local_folder_has_no_revisions(glossa: Glossa, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw")
    done = glossa("import", "adapterhub", folder, "--name", "hub-sw", "--revision", "main")
    assert done.status == 1
    assert "has no revision" in done.err
    done = glossa("import", "adapterhub", "sw", "--name", "hub-sw")
    assert "a hub name is of the form owner/name" in done.err
