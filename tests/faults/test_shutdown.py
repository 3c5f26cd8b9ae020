"""A server process that is told to end while requests wait: each is answered, and then it is gone."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.served import PATIENCE_S, Home, make_home

pytestmark = [pytest.mark.faults, pytest.mark.slow]

TEXTS = 256
CLIENTS = 12
SLOW = {"GLOSSA_BATCH_TOKENS": "16", "GLOSSA_QUEUE_S": "600", "GLOSSA_DEADLINE_S": "110"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A running `glossa serve`."""

    process: "subprocess.Popen[str]"
    address: str

    def get(self, path: str) -> tuple[int, str]:
        return _ask(urllib.request.Request(self.address + path))

    def predict(self, texts: int) -> tuple[int, str]:
        body = json.dumps({"inputs": ["Juma lives in Nairobi"] * texts}).encode()
        headers = {"content-type": "application/json", "connection": "close"}
        return _ask(urllib.request.Request(f"{self.address}/v1/predict/ner?language=sw", body, headers))

    def queued(self) -> int:
        """Requests that were accepted and not answered yet."""
        found = re.search(r"^glossa_queue_requests (\S+)$", self.get("/metrics")[1], flags=re.MULTILINE)
        return int(float(found[1])) if found else 0


def _ask(request: urllib.request.Request) -> tuple[int, str]:
    """Raises `OSError` where there is no answer."""
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return make_home(tmp_path_factory.mktemp("ending"))


@contextmanager
def serving(home: Home, glossa: Path, **variables: str) -> Iterator[Process]:
    ours = {"GLOSSA_HOME": str(home.folder), "GLOSSA_BACKBONE": str(home.backbone), "GLOSSA_DEVICE": "cpu"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GLOSSA_", "DATABASE_URL"))}
    process = subprocess.Popen(
        [glossa, "serve", "--port", "0"],
        env=kept | ours | SLOW | variables | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_take_interrupts,  # noqa: PLW1509 - no thread runs yet that could hold a lock
    )
    try:
        assert process.stdout is not None
        (address,) = re.findall(r"serving .* at (http://\S+)", process.stdout.readline())
        yield Process(process=process, address=address)
    finally:
        process.kill()
        process.communicate()


def _take_interrupts() -> None:
    """What a shell runs in the background ignores them, and so would the server."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def ask_at_once(server: Process, pool: ThreadPoolExecutor) -> "list[Future[tuple[int, str]]]":
    """More than runs in a second, all of it accepted."""
    asked = [pool.submit(server.predict, TEXTS) for _ in range(CLIENTS)]
    until(lambda: server.queued() == CLIENTS)
    return asked


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_what_was_accepted_is_answered_and_what_comes_later_is_sent_away(
    home: Home, wheel_bin: Path, number: signal.Signals, status: int
) -> None:
    with serving(home, wheel_bin / "glossa") as server, ThreadPoolExecutor(CLIENTS) as pool:
        assert server.predict(1)[0] == 200
        asked = ask_at_once(server, pool)
        server.process.send_signal(number)
        until(lambda: server.get("/health/ready")[0] == 503)
        refused, content = server.predict(1)
        assert (refused, json.loads(content)["code"]) == (503, "draining")
        assert server.get("/health/live")[0] == 200
        assert not all(answer.done() for answer in asked)
        answers = [answer.result(PATIENCE_S) for answer in asked]
        assert [told for told, _ in answers] == [200] * CLIENTS
        assert {len(json.loads(content)) for _, content in answers} == {TEXTS}
        assert len({content for _, content in answers}) == 1
        assert server.process.wait(PATIENCE_S) == status
        with pytest.raises(OSError, match="refused"):
            server.get("/health/live")


def test_what_is_not_done_in_time_is_told_so(home: Home, wheel_bin: Path) -> None:
    with serving(home, wheel_bin / "glossa", GLOSSA_DRAIN_S="0.2") as server, ThreadPoolExecutor(CLIENTS) as pool:
        asked = ask_at_once(server, pool)
        server.process.send_signal(signal.SIGTERM)
        answers = [answer.result(PATIENCE_S) for answer in asked]
        assert {told for told, _ in answers} <= {200, 503}
        assert {json.loads(content)["code"] for told, content in answers if told == 503} == {"draining"}
        assert server.process.wait(PATIENCE_S) == 0
