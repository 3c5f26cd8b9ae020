"""AdapterHub folders to a server and from one: the folder is read on this machine, the registry is the server's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from glossa.adapterhub.bin_weights import read_bin
from tests.support.hub_folders import write_language, write_task
from tests.support.listening import Listener, listening
from tests.support.served import make_home

Glossa = Any


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Listener]:
    with listening(make_home(tmp_path / "served").settings()) as listener:
        yield listener


def test_there_and_back(glossa: Glossa, server: Listener, tmp_path: Path) -> None:
    on_server = ("--server", server.address)
    for folder, name in ((write_language(tmp_path / "sw"), "hub-sw"), (write_task(tmp_path / "ner"), "hub-ner")):
        done = glossa("import", "adapterhub", folder, "--name", name, *on_server)
        assert done.status == 0, done.err
        assert done.out.startswith(f"{name}@1 published: ")
        again = json.loads(glossa("import", "adapterhub", folder, "--name", name, "--json", *on_server).out)
        assert (again["reference"], again["created"]) == (f"{name}@1", False)
        out = tmp_path / f"{name}-out"
        assert glossa("export", "adapterhub", name, out, *on_server).status == 0
        given, back = (read_bin(place / "pytorch_adapter.bin") for place in (folder, out))
        assert given.keys() == back.keys()
        assert all(torch.equal(given[key], back[key]) for key in given)
    done = glossa("predict", "--adapter", "hub-ner", "--language-adapter", "hub-sw", "Juma", *on_server)
    assert "ran hub-sw@1, hub-ner@1" in done.err
    assert "no adapters" in glossa("adapters", "list").out


def test_a_folder_that_is_refused_never_leaves_this_machine(glossa: Glossa, server: Listener, tmp_path: Path) -> None:
    folder = write_language(tmp_path / "sw", mh_adapter=True)
    done = glossa("import", "adapterhub", folder, "--name", "hub-sw", "--server", server.address)
    assert done.status == 1
    assert "a Houlsby adapter" in done.err
    assert "no adapter 'hub-sw'" in glossa("adapters", "show", "hub-sw", "--server", server.address).err
