"""One look at one weights file, in a process of its own: `python -m registry.gate_child`.

Reads a request from standard input, limits itself, and only then opens the file; writes the verdict to standard output.
`gatekeeper` starts it. Every import here costs memory in each child, so there are few.
"""

import json
import resource
import sys
from typing import Any, TypedDict

from madx.errors import InvalidWeights

from .weights_gate import Shape, check_header, check_weights

MEMORY_BYTES = 256 << 20
"""Of address space. The interpreter takes a sixteenth of it; the worst headers within their bounds, a fifth more."""

_OPEN_FILES = 16


class Request(TypedDict):
    """`whole`: look at the numbers too, not at the header alone."""

    path: str
    file_bytes: int
    expected: dict[str, list[int]]
    whole: bool
    cpu_s: int


class Verdict(TypedDict):
    """`code` is that of the refusal, None where there is nothing to refuse."""

    code: str | None
    message: str


def main() -> None:
    request: Request = json.load(sys.stdin)
    limit(request["cpu_s"])
    sys.stdout.write("\n")  # from here on an end without a verdict is the file's doing
    sys.stdout.flush()
    json.dump(verdict_on(request), sys.stdout)


def limit(cpu_s: int) -> None:
    """For the rest of this process: nothing is written, and a file that asks for more than this ends it."""
    for kind, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _, hard = resource.getrlimit(kind)
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lowered, lowered))


def verdict_on(request: Request) -> Verdict:
    expected: dict[str, Shape] = {name: tuple(shape) for name, shape in request["expected"].items()}
    check: Any = check_weights if request["whole"] else check_header
    try:
        # Unbuffered: chunks are large already, and a buffer would hold a second copy.
        with open(request["path"], "rb") as stream:  # noqa: PTH123 - pathlib costs a megabyte
            check(stream, expected, file_bytes=request["file_bytes"])
    except InvalidWeights as refusal:
        return Verdict(code=refusal.code, message=str(refusal))
    return Verdict(code=None, message="")


if __name__ == "__main__":
    main()
