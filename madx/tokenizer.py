"""The backbone's tokenizer: text or words -> piece ids of one row, and back. Torch-free.

It reads `tokenizer.json` alone, so the same folder gives the same pieces under every version of `transformers`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from .config import Family
from .errors import BackboneUnavailable
from .families import FAMILIES

FILE_NAME = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    start: int
    end: int
    mask: int
    pad: int
    unknown: int


class TextTokenizer:
    """Piece ids without special tokens; `row` adds them. Safe to share between threads."""

    def __init__(self, definition: str, family: Family) -> None:
        """`definition` is the text of a `tokenizer.json`; padding and truncation in it are ignored."""
        self.definition = canonical_definition(definition)
        self._tokenizer = Tokenizer.from_str(self.definition)
        tokens = FAMILIES[family].tokens
        self.mask_token = tokens.mask
        self.ids = SpecialIds(
            start=self._required(tokens.start),
            end=self._required(tokens.end),
            mask=self._required(tokens.mask),
            pad=self._required(tokens.pad),
            unknown=self._required(tokens.unknown),
        )

    def _required(self, token: str) -> int:
        number: int | None = self._tokenizer.token_to_id(token)
        if number is None:
            raise BackboneUnavailable(f"the tokenizer lacks the special token {token}")
        return number

    @property
    def vocab_size(self) -> int:
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    def encode(self, text: str) -> list[int]:
        """Piece ids of a running text; a mask token written in it becomes the mask's id."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Piece ids word by word, each word at least one piece (the unknown piece where the tokenizer finds none)."""
        encoding = self._tokenizer.encode(list(words), is_pretokenized=True, add_special_tokens=False)
        pieces: list[list[int]] = [[] for _ in words]
        for number, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if word is not None:
                pieces[word].append(number)
        return [ids or [self.ids.unknown] for ids in pieces]

    def row(self, ids: Sequence[int]) -> list[int]:
        """Start token, pieces, end token."""
        return [self.ids.start, *ids, self.ids.end]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def piece(self, number: int) -> str:
        """The piece as it stands in the vocabulary."""
        text: str | None = self._tokenizer.id_to_token(number)
        return "" if text is None else text

    def piece_id(self, piece: str) -> int | None:
        number: int | None = self._tokenizer.token_to_id(piece)
        return number


def canonical_definition(definition: str) -> str:
    """A `tokenizer.json` with padding and truncation cleared, keys sorted: equal for equal tokenizers."""
    try:
        fields = json.loads(definition)
    except json.JSONDecodeError as error:
        raise BackboneUnavailable(f"{FILE_NAME} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BackboneUnavailable(f"{FILE_NAME} is not a JSON object")
    fields.update(padding=None, truncation=None)
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def read_tokenizer(folder: Path, family: Family) -> TextTokenizer:
    path = folder / FILE_NAME
    if not path.is_file():
        raise BackboneUnavailable(
            f"{folder} has no {FILE_NAME}; `glossa backbones convert {folder} NEW_FOLDER` writes one"
        )
    return TextTokenizer(path.read_text(encoding="utf-8"), family)
