"""Adapter folders: two files, written whole, and nothing foreign touched."""

from pathlib import Path

import pytest

from glossa.folders import NotAnAdapterFolder, read_folder, write_folder


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_folder(folder, b"{}", b"weights")
    write_folder(folder, b'{"new": 1}', b"other")
    read = read_folder(folder)
    assert (read.manifest, read.weights.read_bytes()) == (b'{"new": 1}', b"other")
    assert len(list(folder.iterdir())) == 2


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotAnAdapterFolder, match=r"thesis\.txt"):
        write_folder(tmp_path, b"{}", b"weights")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("missing", ["manifest.json", "adapter.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write_folder(tmp_path, b"{}", b"weights")
    (tmp_path / missing).unlink()
    with pytest.raises(NotAnAdapterFolder, match=missing.replace(".", r"\.")):
        read_folder(tmp_path)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAnAdapterFolder, match="cannot write"):
        write_folder(tmp_path / "file" / "below", b"{}", b"weights")
