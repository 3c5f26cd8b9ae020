"""Downloads from a real HTTP server on this machine: good, changed, cut short, absent, hanging, unreachable."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from madx.manifest import digest_of
from registry.datasets.catalogue import load_catalogue
from registry.datasets.dataset import DataFile, DataSet
from registry.datasets.errors import DownloadFailed, NotDownloadable
from registry.datasets.locate import locate
from registry.datasets.pull import Patience, pull

CONTENT = b"1\tAmina\tB-PER\n" * 20_000
HASTE = Patience(attempts=3, timeout_s=1.5, attempt_s=20.0, pause_s=0.01)


@dataclass(kw_only=True)
class Source:
    """What the server answers, one step a request, the last one for ever, and which paths it was asked for."""

    steps: list[str]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def next_step(self, path: str) -> str:
        self.asked.append(path)
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]


class Handler(BaseHTTPRequestHandler):
    source: Source

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the test's output clean."""

    def do_GET(self) -> None:
        step = self.source.next_step(self.path)
        if step.isdigit():
            self.send_error(int(step))
        elif step == "redirect":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
        elif step == "hang":
            self.source.closing.wait(30)
        else:
            self.answer(step)

    def answer(self, step: str) -> None:
        body = {"changed": CONTENT.replace(b"PER", b"LOC"), "larger": CONTENT * 2}.get(step, CONTENT)
        self.send_response(200)
        if step != "unmeasured":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if step == "trickle":
            for start in range(0, len(body), 1000):
                self.wfile.write(body[start : start + 1000])
                self.source.closing.wait(0.1)
        else:
            self.wfile.write(body[:1000] if step in ("short", "unmeasured") else body)


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source(steps=["good"])
    handler = type("BoundHandler", (Handler,), {"source": source})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        source.url = f"http://127.0.0.1:{server.server_port}"
        yield source
        source.closing.set()
        server.shutdown()
        thread.join()


def village(*urls: str | None) -> DataSet:
    files = tuple(
        DataFile(
            split=split, path=f"village/{split}.iob2", sha256=digest_of(CONTENT), size_bytes=len(CONTENT), url=address
        )
        for split, address in zip(("train", "dev"), urls, strict=False)
    )
    return DataSet(
        name="village",
        task="ner",
        language="sw",
        format="uner",
        licence="CC0-1.0",
        is_open=True,
        sources=(),
        files=files,
    )


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_good_file_lands_in_the_cache_once(tmp_path: Path, source: Source) -> None:
    dataset = village(f"{source.url}/data/train.iob2", f"{source.url}/data/dev.iob2?version=2")
    seen: list[tuple[str, int]] = []
    paths = pull(dataset, tmp_path, progress=lambda file, count: seen.append((file.split, count)), patience=HASTE)
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert sorted(files_below(tmp_path)) == sorted(paths)
    assert [locate(dataset, split, None, tmp_path) for split in dataset.splits] == list(paths)
    assert ("train", len(CONTENT)) in seen
    assert seen[-1] == ("dev", len(CONTENT))
    assert pull(dataset, tmp_path, patience=HASTE) == paths
    assert source.asked == ["/data/train.iob2", "/data/dev.iob2?version=2"]


def test_a_mirror_replaces_scheme_and_host(tmp_path: Path, source: Source) -> None:
    pull(village("https://raw.example.org/someone/village/0123/a%20b.iob2"), tmp_path, base_url=f"{source.url}/mirror/")
    assert source.asked == ["/mirror/someone/village/0123/a%20b.iob2"]


def test_redirects_are_followed(tmp_path: Path, source: Source) -> None:
    source.steps[:] = ["redirect", "good"]
    pull(village(f"{source.url}/train"), tmp_path, patience=HASTE)
    assert source.asked == ["/train", "/elsewhere"]


@pytest.mark.parametrize("trouble", ["short", "unmeasured", "hang", "503", "429"])
def test_what_may_pass_is_tried_again(tmp_path: Path, source: Source, trouble: str) -> None:
    source.steps[:] = [trouble, trouble, "good"]
    (path,) = pull(village(f"{source.url}/train"), tmp_path, patience=HASTE)
    assert path.read_bytes() == CONTENT
    assert files_below(tmp_path) == [path]


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("short", r"the connection failed: .* \(3 attempts\)"),
        ("unmeasured", r"the answer ended after 1000 of 280000 bytes \(3 attempts\)"),
        ("hang", r"no answer within 1\.5 s \(3 attempts\)"),
        ("500", r"the server answered 500 \(3 attempts\)"),
    ],
)
def test_trouble_that_stays_ends_after_three_attempts(
    tmp_path: Path, source: Source, trouble: str, message: str
) -> None:
    source.steps[:] = [trouble]
    with pytest.raises(DownloadFailed, match=message):
        pull(village(f"{source.url}/train"), tmp_path, patience=HASTE)
    assert len(source.asked) == 3
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("404", "the server answered 404"),
        ("larger", "larger than the 280000 bytes"),
        ("changed", f"expected sha256 {digest_of(CONTENT)}, found {digest_of(CONTENT.replace(b'PER', b'LOC'))}"),
    ],
)
def test_what_cannot_pass_fails_at_once(tmp_path: Path, source: Source, trouble: str, message: str) -> None:
    source.steps[:] = [trouble]
    with pytest.raises(DownloadFailed, match=message):
        pull(village(f"{source.url}/train"), tmp_path, patience=HASTE)
    assert source.asked == ["/train"]
    assert files_below(tmp_path) == []


def test_a_server_that_trickles_cannot_hold_an_attempt_for_ever(tmp_path: Path, source: Source) -> None:
    source.steps[:] = ["trickle"]
    patience = Patience(attempts=1, timeout_s=5.0, attempt_s=0.2)
    with pytest.raises(DownloadFailed, match=r"longer than 0\.2 s"):
        pull(village(f"{source.url}/train"), tmp_path, patience=patience)
    assert files_below(tmp_path) == []


def test_files_that_came_before_the_failure_stay_and_are_whole(tmp_path: Path, source: Source) -> None:
    source.steps[:] = ["good", "404"]
    dataset = village(f"{source.url}/train", f"{source.url}/dev")
    with pytest.raises(DownloadFailed):
        pull(dataset, tmp_path, patience=HASTE)
    assert files_below(tmp_path) == [locate(dataset, "train", None, tmp_path)]


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path, source: Source) -> None:
    dataset = village(f"{source.url}/train")
    (path,) = pull(dataset, tmp_path, patience=HASTE)
    path.write_bytes(CONTENT[:-1])
    assert pull(dataset, tmp_path, patience=HASTE) == (path,)
    assert path.read_bytes() == CONTENT


def test_an_interrupted_download_leaves_nothing(tmp_path: Path, source: Source) -> None:
    def interrupt(_: DataFile, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(village(f"{source.url}/train"), tmp_path, progress=interrupt, patience=HASTE)
    assert files_below(tmp_path) == []


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/train"
        with pytest.raises(DownloadFailed, match=r"the connection failed: .*refused"):
            pull(village(url), tmp_path, patience=HASTE)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a:b/train"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed):
        pull(village(url), tmp_path, patience=HASTE)


def test_a_cache_that_cannot_be_written(tmp_path: Path, source: Source) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadFailed, match="cannot write"):
        pull(village(f"{source.url}/train"), tmp_path / "file", patience=HASTE)


def test_assembled_text_says_to_set_the_data_folder(tmp_path: Path) -> None:
    with pytest.raises(NotDownloadable, match=r"text-swa cannot be downloaded: .*set GLOSSA_DATA_DIR") as caught:
        pull(load_catalogue().get("text-swa"), tmp_path, base_url="http://127.0.0.1:9", patience=HASTE)
    assert "\n" not in str(caught.value)
    assert "text/swa.txt" in str(caught.value)


def test_nothing_is_downloaded_when_one_file_has_no_address(tmp_path: Path, source: Source) -> None:
    with pytest.raises(NotDownloadable):
        pull(village(f"{source.url}/train", None), tmp_path, patience=HASTE)
    assert source.asked == []
