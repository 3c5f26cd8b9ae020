"""CoNLL: a word and its tag a line, a blank line between sentences (MasakhaNER, CoNLL-2003)."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import BrokenData
from .lines import read_lines
from .tagged import TaggedSentence, is_iob2

# Only these two separate columns: other Unicode spaces occur inside words of real files.
_SEPARATOR = re.compile(r"[ \t]+")


def read_conll(path: Path) -> Iterator[TaggedSentence]:
    """Yield the sentences of a file whose first column is the word and whose last is an IOB2 tag.

    Columns stand apart by spaces or tabs and are as many on every line as on the first one. `-DOCSTART-` lines are
    skipped. Raises `BrokenData` with the line number.
    """
    words: list[str] = []
    tags: list[str] = []
    width: int | None = None
    found = False
    for number, line in read_lines(path):
        columns = _SEPARATOR.split(line.rstrip(" \t"))
        if columns == [""]:
            if words:
                found = True
                yield TaggedSentence(words=tuple(words), tags=tuple(tags))
                words, tags = [], []
        elif columns[0] != "-DOCSTART-":
            width = _check(columns, width, path, number)
            words.append(columns[0])
            tags.append(columns[-1])
    if words:
        yield TaggedSentence(words=tuple(words), tags=tuple(tags))
    elif not found:
        raise BrokenData(path, 0, "expected lines of `word TAG`, found no sentence")


def _check(columns: list[str], width: int | None, path: Path, number: int) -> int:
    """The file's number of columns, which this line must have."""
    if len(columns) < 2 or not columns[0]:
        raise BrokenData(path, number, "expected `word TAG`, apart by a space or a tab")
    if width is not None and len(columns) != width:
        raise BrokenData(path, number, f"expected {width} columns as on the lines before, found {len(columns)}")
    if not is_iob2(columns[-1]):
        raise BrokenData(path, number, f"expected a tag like O, B-PER or I-PER (IOB2) last, found {columns[-1]!r}")
    return len(columns)
