"""Named-entity recognition: words -> rows read at each word's first piece; label scores -> entities.

The tag of a word is the tag of its first piece, in training, evaluation and serving alike.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InvalidInput
from ..tokenizer import TextTokenizer
from .windows import Window, best_windows, cut_windows
from .words import Span, split_words

Aggregation = Literal["none", "simple"]
OUTSIDE = "O"
Scores = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWindow:
    """One row: its ids with special tokens, and the place of each word's first piece."""

    window: Window
    input_ids: tuple[int, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """A text cut into words, and the rows that read them."""

    text: str
    spans: tuple[Span, ...]
    windows: tuple[EncodedWindow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """Code points `start` to `end` of the text; `index` counts words from 1 where words are not aggregated."""

    label: str
    score: float
    start: int
    end: int
    index: int | None = None


def encode_words(
    words: Sequence[str], tokenizer: TextTokenizer, *, max_tokens: int, overlap: int
) -> list[EncodedWindow]:
    """Words -> rows of at most `max_tokens` pieces, start and end token included, sharing about `overlap` pieces.

    A single word of more pieces than a row holds is read by the pieces that fit; its first piece decides its tag.
    """
    capacity = max_tokens - 2
    pieces = [ids[:capacity] for ids in tokenizer.encode_words(words)]
    rows: list[EncodedWindow] = []
    for window in cut_windows([len(ids) for ids in pieces], capacity, overlap):
        ids: list[int] = []
        positions: list[int] = []
        for word in range(window.start, window.stop):
            positions.append(len(ids) + 1)
            ids.extend(pieces[word])
        rows.append(EncodedWindow(window=window, input_ids=tuple(tokenizer.row(ids)), positions=tuple(positions)))
    return rows


def encode(text: str, tokenizer: TextTokenizer, *, max_tokens: int, overlap: int | None = None) -> EncodedText:
    """A running text -> rows; `overlap` defaults to a quarter of a row. Raises `InvalidInput` for a text of no word."""
    spans = split_words(text)
    if not spans:
        raise InvalidInput("the text is empty")
    shared = (max_tokens - 2) // 4 if overlap is None else overlap
    words = [text[span.start : span.stop] for span in spans]
    windows = encode_words(words, tokenizer, max_tokens=max_tokens, overlap=shared)
    return EncodedText(text=text, spans=tuple(spans), windows=tuple(windows))


def word_scores(windows: Sequence[EncodedWindow], logits: Sequence[Scores]) -> Scores:
    """Per-row logits (words of the row, labels) -> probabilities (words, labels), each from its best window."""
    count = windows[-1].window.stop
    best = best_windows([row.window for row in windows], count)
    chosen = np.stack([logits[best[word]][word - windows[best[word]].window.start] for word in range(count)])
    exponent = np.exp(chosen - chosen.max(axis=1, keepdims=True))
    probabilities: Scores = exponent / exponent.sum(axis=1, keepdims=True)
    return probabilities


def decode(
    encoded: EncodedText,
    logits: Sequence[Scores],
    labels: Sequence[str],
    *,
    aggregation: Aggregation = "simple",
    ignore_labels: Collection[str] = (OUTSIDE,),
) -> list[Entity]:
    """Logits of each row (its words, labels) -> words or entities in text order, without those to be ignored."""
    scores = word_scores(encoded.windows, logits)
    words = [
        Entity(label=labels[best], score=float(scores[word, best]), start=span.start, end=span.stop, index=word + 1)
        for word, (span, best) in enumerate(zip(encoded.spans, scores.argmax(axis=1), strict=True))
    ]
    if aggregation == "simple":
        words = group_entities(words)
    return [entity for entity in words if entity.label not in ignore_labels]


def group_entities(words: Sequence[Entity]) -> list[Entity]:
    """Neighbouring words of one type become one entity, a B- tag starting a new one; its score is their mean."""
    groups: list[list[Entity]] = []
    for word in words:
        prefix, kind = split_tag(word.label)
        if groups and prefix != "B" and split_tag(groups[-1][-1].label)[1] == kind:
            groups[-1].append(word)
        else:
            groups.append([word])
    return [
        Entity(
            label=split_tag(group[0].label)[1],
            score=sum(word.score for word in group) / len(group),
            start=group[0].start,
            end=group[-1].end,
        )
        for group in groups
    ]


def split_tag(tag: str) -> tuple[str, str]:
    """An IOB2 tag -> (prefix, type): "B-PER" -> ("B", "PER"), "O" -> ("", "O")."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in ("B", "I") else ("", tag)
