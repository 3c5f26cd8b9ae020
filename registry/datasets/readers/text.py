"""Plain text, one sentence or verse a line: what language adapters are trained on."""

from collections.abc import Iterator
from pathlib import Path

from ..errors import BrokenData
from .lines import read_lines


def read_text(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, stripped, empty ones skipped.

    Raises `BrokenData` with the line number if a line is not UTF-8, and if there is no text at all.
    """
    found = False
    for _, line in read_lines(path):
        if sentence := line.strip():
            found = True
            yield sentence
    if not found:
        raise BrokenData(path, 0, "expected one sentence a line, found only empty lines")
