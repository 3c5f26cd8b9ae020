"""A peer in a process of its own, in an environment with libraries that ours has not: a JSON line out, one back."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEER_PYTHON = "GLOSSA_INTEROP_PYTHON"
"""The variable that names the interpreter of the interop environment, which `make interop-env` makes."""


class Peer:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, request: object) -> dict[str, Any]:
        """Its answer. Ends the benchmark where there is none: the peer's own reason stands above."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peer ended early; its reason stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def running_peer(python: str, script: Path) -> Iterator[Peer]:
    """Ends the process on leaving."""
    with subprocess.Popen([python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()
