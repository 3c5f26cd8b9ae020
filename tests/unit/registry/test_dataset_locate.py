"""Where files are looked for, in which order, and that a changed file is never taken."""

import subprocess
import sys
from pathlib import Path

import pytest

from madx.manifest import DataRef, digest_of
from registry.datasets.dataset import DataFile, DataSet
from registry.datasets.errors import DataMismatch, DataMissing, UnknownSplit
from registry.datasets.locate import cache_path, locate, locate_file, own_file

CONTENT = b"Amina B-PER\n"
FILE = DataFile(
    split="dev",
    path="village/dev.txt",
    sha256=digest_of(CONTENT),
    size_bytes=len(CONTENT),
    url="https://example.org/dev.txt",
)


def village(*, folder: Path | None = None, url: str | None = FILE.url) -> DataSet:
    file = DataFile(split=FILE.split, path=FILE.path, sha256=FILE.sha256, size_bytes=FILE.size_bytes, url=url)
    return DataSet(
        name="village",
        task="ner",
        language="sw",
        format="conll",
        licence="CC0-1.0",
        is_open=True,
        sources=(),
        files=(file,),
        folder=folder,
    )


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_data_folder_comes_before_the_catalogues_folder_and_the_cache(tmp_path: Path) -> None:
    data, beside, cache = tmp_path / "data", tmp_path / "beside", tmp_path / "cache"
    dataset = village(folder=beside)
    cached = put(cache_path(dataset, FILE, cache))
    assert locate(dataset, "dev", data, cache) == cached
    own = put(beside / FILE.path)
    assert locate(dataset, "dev", data, cache) == own
    first = put(data / FILE.path)
    assert locate(dataset, "dev", data, cache) == first
    assert locate(dataset, "dev", None, cache) == own


def test_a_located_file_says_what_a_manifest_records(tmp_path: Path) -> None:
    put(tmp_path / FILE.path)
    found = locate_file(village(), "dev", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert (found.language, found.format, found.is_open) == ("sw", "conll", True)
    assert found.data_ref() == DataRef(name="village", split="dev", digest=FILE.sha256, licence="CC0-1.0")


@pytest.mark.parametrize("content", [b"Amina B-LOC\n", CONTENT + b"\n", b""])
def test_a_changed_file_is_refused_with_both_digests(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / FILE.path, content)
    with pytest.raises(DataMismatch) as caught:
        locate(village(), "dev", tmp_path, tmp_path / "cache")
    assert all(part in str(caught.value) for part in (str(path), FILE.sha256, digest_of(content)))


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"GLOSSA_DATA_DIR is not set; run `glossa data pull village`"):
        locate(village(), "dev", None, tmp_path)
    with pytest.raises(DataMissing, match=r"\(GLOSSA_DATA_DIR\) has no village/dev.txt; run `glossa data pull"):
        locate(village(), "dev", tmp_path, tmp_path)
    with pytest.raises(DataMissing, match=r"set GLOSSA_DATA_DIR to a folder that holds village/dev\.txt"):
        locate(village(url=None), "dev", None, tmp_path)


def test_an_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(UnknownSplit, match="village has no split 'test'; it has dev"):
        locate(village(), "test", None, tmp_path)


def test_a_users_own_file_works_the_same_way(tmp_path: Path) -> None:
    file = own_file(put(tmp_path / "mine.txt"), "conll", split="train", language="swa")
    assert (file.name, file.language, file.licence, file.is_open) == ("mine", "sw", None, False)
    assert file.data_ref() == DataRef(name="mine", split="train", digest=digest_of(CONTENT))
    with pytest.raises(DataMissing, match=r"cannot read .*absent\.txt: No such file"):
        own_file(tmp_path / "absent.txt", "text")


def test_importing_the_data_sets_imports_no_torch() -> None:
    modules = "catalogue, locate, pull"
    code = (
        f"from registry.datasets import {modules}; from registry.datasets.readers import reading; import sys; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0
