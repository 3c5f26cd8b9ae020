"""The client's way to publish and download folders, against a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glossa import Client, ClientError
from glossa.folders import read_folder
from tests.support.adapter_folders import write_folder
from tests.support.listening import listening
from tests.support.served import Home, make_home
from tests.support.tiny import language_checkpoint


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("client"))


@pytest.fixture
def client(home: Home, tmp_path: Path) -> Iterator[Client]:
    with listening(home.copy(tmp_path / "home").settings()) as server, Client(server.address) as client:
        yield client


def test_a_folder_goes_to_a_server_and_back(client: Client, home: Home, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "ha", *language_checkpoint(home.loaded, "ha", seed=5))
    published = client.publish("ha", folder)
    assert (published["reference"], published["created"]) == ("ha@1", True)
    found = client.download("ha", tmp_path / "back")
    assert (found["reference"], found["digest"]) == ("ha@1", published["digest"])
    given, back = read_folder(folder), read_folder(tmp_path / "back")
    assert (back.manifest, back.weights.read_bytes()) == (given.manifest, given.weights.read_bytes())
    assert client.predict("fill-mask", "Juma <mask>", language="ha")


def test_adapters_are_all_listed_whatever_a_page_holds(client: Client, home: Home, tmp_path: Path) -> None:
    checkpoint = language_checkpoint(home.loaded, "ha", seed=5)
    folder = write_folder(tmp_path / "ha", *checkpoint)
    names = [f"ha-{number:02}" for number in range(55)]
    for name in names:
        client.publish(name, folder)
    assert [item["name"] for item in client.adapters()] == ["en", *names, "ner", "sw"]
    assert len(list(client.catalogue.adapters(q="ha-1"))) == 10


def test_a_version_that_is_not_there_writes_nothing(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ClientError) as caught:
        client.download("ha@3", tmp_path / "back")
    assert caught.value.code == "unknown_adapter"
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_cannot_leave_its_place_in_the_address(client: Client, name: str) -> None:
    with pytest.raises(ClientError, match="name nothing") as caught:
        client.catalogue.delete_version(name, 1)
    assert caught.value.code == "invalid_name"
