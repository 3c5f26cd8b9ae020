"""One argument names a data set of the catalogue or a user's own file."""

from pathlib import Path

import pytest

from registry.datasets.catalogue import Catalogue
from registry.datasets.dataset import DataFile, DataSet
from registry.datasets.errors import DataMissing, UnknownDataSet, UnknownSplit
from registry.datasets.locate import digest_of_file
from tests.support.training import write_tagged, write_text
from trainer.data import DataPlaces


@pytest.fixture
def places(tmp_path: Path) -> DataPlaces:
    (tmp_path / "data").mkdir()
    path = write_tagged(tmp_path / "data" / "made.conll")
    file = DataFile(
        split="train", path="made.conll", sha256=digest_of_file(path), size_bytes=path.stat().st_size, url=None
    )
    dataset = DataSet(
        name="made-ner",
        task="ner",
        language="sw",
        format="conll",
        licence="CC0-1.0",
        is_open=True,
        sources=(),
        files=(file,),
    )
    return DataPlaces(
        catalogue=Catalogue(datasets=(dataset,)), data_dir=tmp_path / "data", cache_dir=tmp_path / "cache"
    )


def test_a_catalogue_name_brings_licence_and_language(places: DataPlaces) -> None:
    found = places.locate("made-ner", "train", task="ner")
    assert (found.name, found.language, found.licence, found.format) == ("made-ner", "sw", "CC0-1.0", "conll")
    with pytest.raises(UnknownSplit):
        places.locate("made-ner", "dev", task="ner")
    assert places.locate_optional("made-ner", "dev", task="ner") is None


@pytest.mark.parametrize(("name", "expected"), [("a.conll", "conll"), ("a.txt", "conll"), ("a.iob2", "uner")])
def test_an_own_file_is_read_by_its_ending(places: DataPlaces, tmp_path: Path, name: str, expected: str) -> None:
    path = write_tagged(tmp_path / name)
    assert places.locate(str(path), "train", task="ner").format == expected
    assert places.locate_optional(str(path), "dev", task="ner") is None


def test_own_text_keeps_the_language_that_was_given(places: DataPlaces, tmp_path: Path) -> None:
    found = places.locate(str(write_text(tmp_path / "own.txt")), "train", task="text", language="swa")
    assert (found.name, found.format, found.language, found.licence) == ("own", "text", "sw", None)


def test_what_is_neither_is_refused(places: DataPlaces) -> None:
    with pytest.raises(UnknownDataSet, match="did you mean made-ner"):
        places.locate("made-nerd", "train", task="ner")
    with pytest.raises(DataMissing):
        places.locate("nowhere/made.conll", "train", task="ner")
