"""Starts the gate's child processes and carries their verdicts back as exceptions.

A file from outside is parsed in a child with limits (`gate_child`), so that one that finds a fault in the reader takes
a child with it and neither memory, time nor secrets of this process. `publish` and the uploads call it.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import BoundedSemaphore

from madx.errors import InvalidWeights
from madx.shapes import Shape

from . import refusals
from .errors import GateUnavailable
from .gate_child import Request, Verdict
from .refusals import GateFailed

_LEAST_CPU_S = 10
_BYTES_PER_CPU_S = 32 << 20  # a thirtieth of what one core does
_WAITING_S = 20  # besides computing: a slow disk, a busy machine
_WALL_PER_CPU = 4
_LOGGED_CHARACTERS = 2_000
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")  # without these some interpreters do not start

_log = logging.getLogger(__name__)


class Gatekeeper:
    """One child at once for headers, and `processes` for whole files, over all threads; who comes then waits.

    So a header, which a client waits for with its body, does not stand behind long files.
    """

    def __init__(self, *, processes: int = 1) -> None:
        self._free = {True: BoundedSemaphore(processes), False: BoundedSemaphore(1)}  # by `whole`

    def check_header(self, path: Path, expected: Mapping[str, Shape], *, file_bytes: int) -> None:
        """Look at the header of a file that will have `file_bytes`; at `path` it holds that header at least.

        Raises a subclass of `InvalidWeights`, and `GateUnavailable` where no child can be started.
        """
        self._judge(_request(path, expected, file_bytes=file_bytes, whole=False))

    def check_weights(self, path: Path, expected: Mapping[str, Shape]) -> None:
        """Look at a whole file: header, exact names and shapes, every number finite. Raises as `check_header` does."""
        self._judge(_request(path, expected, file_bytes=path.stat().st_size, whole=True))

    def _judge(self, request: Request) -> None:
        with self._free[request["whole"]]:
            verdict = _ask(request)
        if verdict["code"] is not None:
            raise _refusal(verdict)


def _request(path: Path, expected: Mapping[str, Shape], *, file_bytes: int, whole: bool) -> Request:
    return Request(
        path=str(path.absolute()),
        file_bytes=file_bytes,
        expected={name: list(shape) for name, shape in expected.items()},
        whole=whole,
        cpu_s=_LEAST_CPU_S + (file_bytes // _BYTES_PER_CPU_S if whole else 0),
    )


def _ask(request: Request) -> Verdict:
    try:
        done = subprocess.run(
            # In a session of its own: Ctrl-C is for this process, which ends the child in its own time.
            [sys.executable, "-P", "-B", "-m", "registry.gate_child"],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_WALL_PER_CPU * request["cpu_s"] + _WAITING_S,
            env=_environment(),
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GateFailed(f"the weights could not be checked in {error.timeout:.0f} s") from error
    except OSError as error:
        raise GateUnavailable(f"cannot start the gate's process: {error.strerror}; try again later") from error
    verdict = _read(done.stdout) if done.returncode == 0 else None
    if verdict is not None:
        return verdict
    told = done.stderr.decode(errors="replace")[-_LOGGED_CHARACTERS:]
    _log.error("the gate's process ended with %d: %s", done.returncode, told)
    if not done.stdout:
        raise GateUnavailable("the gate's process ended before it began; the log says why")
    raise GateFailed("the weights could not be checked within the gate's limits of time and memory")


def _environment() -> dict[str, str]:
    """No secrets, and modules found where this process finds them: installed, in a checkout, or on PYTHONPATH."""
    modules = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": modules,
    }


def _read(answer: bytes) -> Verdict | None:
    try:
        verdict = json.loads(answer)
    except ValueError:
        return None
    if not isinstance(verdict, dict) or verdict.keys() != Verdict.__annotations__.keys():
        return None
    return Verdict(code=verdict["code"], message=str(verdict["message"]))


def _refusal(verdict: Verdict) -> InvalidWeights:
    kinds = (kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, InvalidWeights))
    kind = next((kind for kind in kinds if kind.code == verdict["code"]), None)
    if kind is None:
        return GateFailed(f"the gate's process gave no refusal that is known: {verdict['code']!r}")
    return kind(verdict["message"])
