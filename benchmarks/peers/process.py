"""Another side in a process of its own, perhaps with libraries that we have not: a JSON line out, a JSON line back."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
def running_peer(command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """With this process's environment, unless another one is given. Ends the process on leaving."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()
