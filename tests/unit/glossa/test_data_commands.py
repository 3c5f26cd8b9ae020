"""`glossa data pull` over HTTP, from a server on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Glossa = Any
CONTENT = b"Juma B-PER\nlives O\n"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it so
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "mirror" / "data"
    folder.mkdir(parents=True)
    (folder / "made.txt").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path / "mirror"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def catalogue(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own" / "catalogue.toml"
    path.parent.mkdir()
    path.write_text(
        f"""
        [[dataset]]
        name = "made-remote"
        task = "ner"
        language = "sw"
        format = "conll"
        licence = "CC0-1.0"
        open = true
        [[dataset.file]]
        split = "train"
        path = "made/train.txt"
        sha256 = "{hashlib.sha256(CONTENT).hexdigest()}"
        size_bytes = {len(CONTENT)}
        url = "https://data.example/data/made.txt"
        """,
        encoding="utf-8",
    )
    monkeypatch.setenv("GLOSSA_CATALOGUE", str(path))


def _is_here(glossa: Glossa) -> bool:
    items = json.loads(glossa("data", "list", "--language", "sw", "--json").out)
    (item,) = [item for item in items if item["name"] == "made-remote"]
    return bool(item["here"])


@pytest.mark.usefixtures("catalogue")
def test_a_data_set_is_pulled_and_then_here(glossa: Glossa, mirror: str) -> None:
    assert not _is_here(glossa)
    done = glossa("data", "pull", "made-remote", "--base-url", mirror, "--json")
    assert done.status == 0, done.err
    (pulled,) = json.loads(done.out)
    assert Path(pulled["path"]).read_bytes() == CONTENT
    assert "downloading made/train.txt" in done.err
    assert _is_here(glossa)


@pytest.mark.usefixtures("catalogue")
def test_another_file_is_refused_and_nothing_kept(glossa: Glossa, mirror: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / "mirror" / "data" / "made.txt").write_bytes(CONTENT.replace(b"Juma", b"Amin"))
    done = glossa("data", "pull", "made-remote", "--base-url", mirror)
    assert done.status == 1
    assert "is not the file that the catalogue means" in done.err
    assert [path for path in (home / "data").rglob("*") if path.is_file()] == []


def test_what_cannot_be_downloaded_says_what_to_do(glossa: Glossa) -> None:
    done = glossa("data", "pull", "text-swa")
    assert done.status == 1
    assert "set GLOSSA_DATA_DIR" in done.err
