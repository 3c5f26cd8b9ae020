"""UNER: CoNLL-U's manners with an IOB2 tag, tab-separated `id word tag [- annotator]` and `#` comments."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import BrokenData
from .lines import read_lines
from .tagged import TaggedSentence, is_iob2

# Multi-word ranges (1-2) and empty nodes (8.1) stand beside the words that are tagged.
_NOT_A_WORD = re.compile(r"[0-9]+[-.][0-9]+")
_FORM = "`id<TAB>word<TAB>tag`, then `-` and the annotator or nothing"


def read_uner(path: Path) -> Iterator[TaggedSentence]:
    """Yield the sentences of a UNER file.

    Word ids count from 1 in every sentence, so that a lost line or a lost blank line shows. Raises `BrokenData` with
    the line number.
    """
    words: list[str] = []
    tags: list[str] = []
    found = False
    for number, line in read_lines(path):
        if not line.strip():
            if words:
                found = True
                yield TaggedSentence(words=tuple(words), tags=tuple(tags))
                words, tags = [], []
        elif not line.startswith("#"):
            columns = line.split("\t")
            if not _NOT_A_WORD.fullmatch(columns[0]):
                _check(columns, len(words) + 1, path, number)
                words.append(columns[1])
                tags.append(columns[2])
    if words:
        yield TaggedSentence(words=tuple(words), tags=tuple(tags))
    elif not found:
        raise BrokenData(path, 0, f"expected lines of {_FORM}; found no sentence")


def _check(columns: list[str], expected_id: int, path: Path, number: int) -> None:
    if not 3 <= len(columns) <= 5:
        raise BrokenData(path, number, f"expected 3 to 5 columns, {_FORM}; found {len(columns)}")
    if columns[0] != str(expected_id):
        raise BrokenData(path, number, f"expected the word id {expected_id}, found {columns[0]!r}")
    if not columns[1].strip():
        raise BrokenData(path, number, "expected a word in the second column, found none")
    if not is_iob2(columns[2]):
        raise BrokenData(path, number, f"expected a tag like O, B-PER or I-PER (IOB2) third, found {columns[2]!r}")
