"""Translations: lines that mean the same in several languages, which pull the languages' meanings together.

Twice: pieces of one meaning start out with like embeddings, because they occur in the same lines (`line_counts`, for
`initialise`), and rows in which each line is followed by its translation let a masked piece be guessed from the other
language (`translation_chunks`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.sparse

from madx.tokenizer import TextTokenizer

from ..holdout import is_held_out
from ..objectives.masked_lm import Chunks, pack_chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Translations:
    """Piece ids of one text's lines by language: line n means the same in each."""

    lines: Mapping[str, Sequence[Sequence[int]]]

    @staticmethod
    def of(texts: Mapping[str, Sequence[str]], tokenizer: TextTokenizer) -> "Translations":
        """Without lines that are held out in any of the languages, which a perplexity may be measured on."""
        kept = [number for number, lines in enumerate(zip(*texts.values(), strict=True)) if _may_be_read(lines)]
        return Translations(
            lines={code: tokenizer.encode_batch([lines[number] for number in kept]) for code, lines in texts.items()}
        )


def _may_be_read(lines: Sequence[str]) -> bool:
    return not any(is_held_out(line) for line in lines)


def translation_chunks(texts: Sequence[Translations], tokenizer: TextTokenizer, length: int) -> Chunks:
    """Every pair of a text's languages, a line of one and then of the other, packed as text is: (N, length).

    Translation language modelling (Conneau and Lample, 2019, section 3.3), but positions run on over a row, and a
    language is not told.
    """

    def alternating() -> Iterator[Sequence[int]]:
        for text in texts:
            for first, second in combinations(text.lines, 2):
                for number, pair in enumerate(zip(text.lines[first], text.lines[second], strict=True)):
                    yield from pair if number % 2 == 0 else reversed(pair)

    return pack_chunks(alternating(), length, tokenizer.ids)


def line_counts(texts: Sequence[Translations], vocab_size: int) -> scipy.sparse.csr_matrix:
    """How often each piece occurs in each line, in whatever language: (V, lines)."""
    pieces: list[int] = []
    columns: list[int] = []
    count = 0
    for text in texts:
        for lines in text.lines.values():
            for number, line in enumerate(lines):
                pieces.extend(line)
                columns.extend([count + number] * len(line))
        count += len(next(iter(text.lines.values())))
    return scipy.sparse.csr_matrix((np.ones(len(pieces)), (pieces, columns)), shape=(vocab_size, count))
