"""The lines of a UTF-8 file with their numbers, under every reader: the one place that decodes.

Decoding goes line by line, so that an error names the line and a file of any size is read in constant memory.
"""

from collections.abc import Iterator
from pathlib import Path

from ..errors import BrokenData, DataMissing

MAX_LINE_BYTES = 1 << 20


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line without its end). A byte-order mark before the first line is dropped.

    Raises `DataMissing` if the file cannot be opened, `BrokenData` if it is empty, not UTF-8, or has an endless line.
    """
    number = 0
    try:
        with path.open("rb") as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield number, _decode(raw, path, number)
    except OSError as error:
        raise DataMissing(f"cannot read {path}: {error.strerror or error}") from error
    if number == 0:
        raise BrokenData(path, 0, "the file is empty")


def _decode(raw: bytes, path: Path, number: int) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise BrokenData(path, number, f"the line is longer than {MAX_LINE_BYTES} bytes; is this a text file?")
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise BrokenData(
            path, number, f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8; convert the file to UTF-8"
        ) from error
    return line.rstrip("\r\n")
