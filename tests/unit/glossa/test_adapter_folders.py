"""Adapter folders: two files, written whole, nothing foreign touched, and an interruption gone on from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from glossa.folders import NotAnAdapterFolder, fill_folder, read_folder, received_bytes
from madx.manifest import WeightsRef, digest_of
from registry.errors import BlobCorrupt

WEIGHTS = bytes(range(256)) * 40


def ref_of(weights: bytes) -> WeightsRef:
    return WeightsRef(digest=digest_of(weights), size_bytes=len(weights))


def fill(folder: Path, manifest: bytes = b"{}", weights: bytes = WEIGHTS) -> None:
    fill_folder(folder, manifest, ref_of(weights), lambda start: [weights[start:]])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    fill(folder)
    fill(folder, b'{"new": 1}', b"other")
    read = read_folder(folder)
    assert (read.manifest, read.weights.read_bytes()) == (b'{"new": 1}', b"other")
    assert len(list(folder.iterdir())) == 2


def test_an_interruption_is_gone_on_from(tmp_path: Path) -> None:
    fill(tmp_path, b'{"old": 1}', b"old")
    asked: list[int] = []

    def breaking(start: int) -> Iterator[bytes]:
        asked.append(start)
        yield WEIGHTS[start : start + 3000]
        if start == 0:
            raise KeyboardInterrupt

    def rest(start: int) -> Iterator[bytes]:
        asked.append(start)
        yield WEIGHTS[start:]

    with pytest.raises(KeyboardInterrupt):
        fill_folder(tmp_path, b"{}", ref_of(WEIGHTS), breaking)
    assert received_bytes(tmp_path, ref_of(WEIGHTS)) == 3000
    kept = read_folder(tmp_path)
    assert (kept.manifest, kept.weights.read_bytes()) == (b'{"old": 1}', b"old")
    fill_folder(tmp_path, b"{}", ref_of(WEIGHTS), rest)
    assert asked == [0, 3000]
    assert read_folder(tmp_path).weights.read_bytes() == WEIGHTS
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_left_of_another_version_is_not_taken_for_this_one(tmp_path: Path) -> None:
    def breaking(start: int) -> Iterator[bytes]:
        yield b"something else"[start:]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_folder(tmp_path, b"{}", ref_of(b"something else entirely"), breaking)
    fill(tmp_path)
    assert read_folder(tmp_path).weights.read_bytes() == WEIGHTS
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_that_are_not_those_of_the_manifest_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(BlobCorrupt, match="another sha256"):
        fill_folder(tmp_path, b"{}", ref_of(WEIGHTS), lambda start: [WEIGHTS[start:-1] + b"?"])
    with pytest.raises(NotAnAdapterFolder):
        read_folder(tmp_path)
    fill(tmp_path)
    assert read_folder(tmp_path).weights.read_bytes() == WEIGHTS


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotAnAdapterFolder, match=r"thesis\.txt"):
        fill(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("missing", ["manifest.json", "adapter.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    fill(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(NotAnAdapterFolder, match=missing.replace(".", r"\.")):
        read_folder(tmp_path)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAnAdapterFolder, match="cannot write"):
        fill(tmp_path / "file" / "below")
