"""`glossa serve` in a process of its own, on a port of its own, and how much memory it takes."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_START_S = 180
_STOP_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    url: str
    pid: int
    log: Path

    def value(self, name: str, **labels: str) -> float:
        """One sample of its metrics, 0 where there is none yet. For a server that asks for no keys."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=_START_S) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return 0.0

    @property
    def memory_mib(self) -> float:
        """What lies in memory right now, files that it has mapped apart. Linux alone."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"process {self.pid} tells nothing of its memory")


@contextmanager
def serving(variables: Mapping[str, str], log: Path) -> Iterator[Serving]:
    """Ready to answer. `variables` come on top of this process's environment. Ends it on leaving, by SIGTERM.

    Raises `RuntimeError` with the end of its log where it does not start, or does not end well; where the block ends
    badly, that goes to standard error.
    """
    command = [sys.executable, "-c", "from glossa.main import main; main()", "serve", "--port", "0"]
    environment = os.environ | dict(variables) | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
    try:
        url = _url(process, log)
        try:
            yield Serving(url=url, pid=process.pid, log=log)
        except BaseException:
            print(f"the server's last lines:\n{_end_of(log)}", file=sys.stderr)
            raise
        _stop(process, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Raises `RuntimeError` where it had ended before, does not stop in time, or stops with an error."""
    if process.poll() is not None:
        raise RuntimeError(f"the server ended with {process.returncode}:\n{_end_of(log)}")
    process.terminate()
    try:
        status = process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the server did not stop within {_STOP_S} s:\n{_end_of(log)}") from None
    if status:
        raise RuntimeError(f"the server was told to stop and ended with {status}:\n{_end_of(log)}")


def _url(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        if match := re.search(r"at (http://\S+)", log.read_text("utf-8", "replace")):
            return match[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-4000:]
