"""Text of several languages -> training and held-out chunks, and which chunks a step takes.

Languages are drawn with probability proportional to size to a power (Conneau et al., 2020, section 3): small ones
more often than their share.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from madx.tokenizer import TextTokenizer

from ..holdout import split_lines
from ..objectives.masked_lm import Chunks, pack_chunks
from ..seeds import generator_of
from .translations import Translations, translation_chunks

_ENCODE_LINES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageText:
    training: Sequence[str]
    held_out: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Chunks (N, S) per language. `probabilities` follows the order of `training`.

    A row of a batch is one of `translations`, where there are any, with probability `translation_share`.
    """

    training: Mapping[str, Chunks]
    held_out: Mapping[str, Chunks]
    probabilities: torch.Tensor
    translations: Chunks | None = None
    translation_share: float = 0.0

    def batch(self, step: int, rows: int, seed: int) -> torch.Tensor:
        """The chunks of one step, (rows, S) int64: a pure function of seed and step."""
        generator = generator_of(seed, "corpus", step)
        languages = torch.multinomial(self.probabilities, rows, replacement=True, generator=generator)
        draws = torch.rand(rows, generator=generator)
        chunks = list(self.training.values())
        chosen = [
            chunks[int(language)][int(draw * len(chunks[int(language)]))]
            for language, draw in zip(languages, draws, strict=True)
        ]
        if self.translations is not None:
            is_translation = torch.rand(rows, generator=generator) < self.translation_share
            chosen = [
                self.translations[int(draw * len(self.translations))] if is_one else chunk
                for chunk, draw, is_one in zip(chosen, draws, is_translation.tolist(), strict=True)
            ]
        return torch.from_numpy(np.stack(chosen).astype(np.int64))

    def all_training(self) -> Chunks:
        return np.concatenate(list(self.training.values()))


def read_language(lines: Iterator[str]) -> LanguageText:
    training, held_out = split_lines(lines)
    return LanguageText(training=training, held_out=held_out)


def build_corpus(
    texts: Mapping[str, LanguageText],
    tokenizer: TextTokenizer,
    *,
    length: int,
    exponent: float,
    translations: Sequence[Translations] = (),
    translation_share: float = 0.0,
) -> Corpus:
    """Encode every language into chunks of `length`. Raises `TooLittleData` for a language of less than one chunk."""
    training = {code: _chunks(text.training, tokenizer, length) for code, text in texts.items()}
    held_out = {code: _chunks(text.held_out, tokenizer, length) for code, text in texts.items()}
    sizes = torch.tensor([float(len(chunks)) for chunks in training.values()])
    return Corpus(
        training=training,
        held_out=held_out,
        probabilities=sizes**exponent,
        translations=translation_chunks(translations, tokenizer, length) if translations else None,
        translation_share=translation_share,
    )


def _chunks(lines: Sequence[str], tokenizer: TextTokenizer, length: int) -> Chunks:
    def encoded() -> Iterator[list[int]]:
        for first in range(0, len(lines), _ENCODE_LINES):
            yield from tokenizer.encode_batch(lines[first : first + _ENCODE_LINES])

    return pack_chunks(encoded(), length, tokenizer.ids)


def vocabulary_lines(texts: Mapping[str, LanguageText], *, characters: int, coverage: float) -> Iterator[str]:
    """Up to `characters` of each language, so that no language owns the vocabulary; the rarest signs are left out.

    Signs outside the `coverage` of all running characters will be written in bytes.
    """
    samples = {code: _sample(text.training, characters) for code, text in texts.items()}
    counts = Counter(sign for lines in samples.values() for line in lines for sign in line)
    budget = coverage * sum(counts.values())
    kept: set[str] = set()
    for sign, count in counts.most_common():
        if budget <= 0:
            break
        kept.add(sign)
        budget -= count
    for lines in samples.values():
        for line in lines:
            yield "".join(sign if sign in kept else " " for sign in line)


def _sample(lines: Sequence[str], characters: int) -> list[str]:
    """Lines spread evenly over a text, `characters` in sum at most."""
    total = sum(len(line) for line in lines)
    if total <= characters:
        return list(lines)
    step = total / characters
    return [lines[int(index * step)] for index in range(int(len(lines) / step))]
