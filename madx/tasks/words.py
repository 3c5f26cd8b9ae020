"""Running text -> words with code-point offsets, close to how treebanks and NER corpora cut it.

Taggers are trained on words; cutting a request's text the same way lets serving read the same piece of each word that
training labelled.
"""

from dataclasses import dataclass

import regex

_WORD = regex.compile(
    r"""
    [\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*  # scripts without spaces
  | (?:\p{L}\.){2,}                                                             # U.S.
  | ['’]s\b                                                                     # English 's
  | \p{N}+(?:[.,:/]\p{N}+)*                                                     # 3.5, 12:30
  | [\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:['’ʼ](?!s\b)[\p{L}\p{M}]+)*                # ng'ombe
  | \S                                                                          # one sign
    """,
    regex.VERBOSE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Code points `start` to `stop` of a text."""

    start: int
    stop: int


def split_words(text: str) -> list[Span]:
    """Every character that is no white space lies in exactly one span."""
    return [Span(start=match.start(), stop=match.end()) for match in _WORD.finditer(text)]
