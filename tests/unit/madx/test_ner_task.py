"""NER encoding and decoding: words, windows, entities."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from madx.errors import InvalidInput
from madx.tasks import ner
from madx.tasks.windows import best_windows, cut_windows
from madx.tasks.words import split_words
from madx.tokenizer import TextTokenizer
from tests.support.tiny import make_backbone

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder: Path = make_backbone(tmp_path_factory.mktemp("backbone"))
    return TextTokenizer((folder / "tokenizer.json").read_text(encoding="utf-8"), "xlm-roberta")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Obama's visit to the U.S. cost $3.5.",
            ["Obama", "'s", "visit", "to", "the", "U.S.", "cost", "$", "3.5", "."],
        ),
        ("ng'ombe wa Kampala!", ["ng'ombe", "wa", "Kampala", "!"]),
        ("北京 is", ["北", "京", "is"]),
        ("उत्तर प्रदेश", ["उत्तर", "प्रदेश"]),
        ("Ọbásanjọ́ ṣe", ["Ọbásanjọ́", "ṣe"]),
        ("al-Ani\u00a0x", ["al", "-", "Ani", "x"]),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[span.start : span.stop] for span in split_words(text)] == words


def test_every_visible_character_is_in_one_word() -> None:
    text = "Naïve “quotes” … 12:30–14:00 👩‍👩‍👧 ʼn x_y a.b.c. ไทย"
    covered = [index for span in split_words(text) for index in range(span.start, span.stop)]
    assert covered == [index for index, sign in enumerate(text) if not sign.isspace()]


def test_windows_cover_every_word_within_capacity() -> None:
    generator = random.Random(1)
    for _ in range(500):
        sizes = [generator.randint(1, 9) for _ in range(generator.randint(1, 60))]
        capacity = generator.randint(9, 30)
        windows = cut_windows(sizes, capacity, overlap=generator.randint(0, 25))
        assert (windows[0].start, windows[-1].stop) == (0, len(sizes))
        for one, after in itertools.pairwise(windows):
            assert one.start < after.start <= one.stop < after.stop
        assert all(sum(sizes[window.start : window.stop]) <= capacity for window in windows)
        for word, best in enumerate(best_windows(windows, len(sizes))):
            assert windows[best].start <= word < windows[best].stop


def test_a_word_is_read_where_it_has_most_context() -> None:
    windows = cut_windows([1] * 14, 10, overlap=6)
    assert [(window.start, window.stop) for window in windows] == [(0, 10), (4, 14)]
    assert best_windows(windows, 14) == [0] * 7 + [1] * 7


def test_a_window_larger_word_is_refused_by_the_cutter_and_read_by_its_head_in_rows(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ValueError, match="larger than the window"):
        cut_windows([5], 4, 0)
    rows = ner.encode_words(["the", "x" * 200, "cat"], tokenizer, max_tokens=16, overlap=2)
    assert all(len(row.input_ids) <= 16 for row in rows)
    assert {word for row in rows for word in range(row.window.start, row.window.stop)} == {0, 1, 2}


def test_rows_point_at_first_pieces(tokenizer: TextTokenizer) -> None:
    (row,) = ner.encode_words(["Juma", "zzz", "Nairobi"], tokenizer, max_tokens=32, overlap=0)
    assert row.input_ids[0] == tokenizer.ids.start
    assert row.input_ids[-1] == tokenizer.ids.end
    firsts = [row.input_ids[place] for place in row.positions]
    assert [tokenizer.piece(number) for number in firsts] == ["▁Juma", "▁", "▁Nairobi"]


def logits_for(tags: list[str]) -> np.ndarray:
    logits = np.zeros((len(tags), len(LABELS)), dtype=np.float32)
    for word, tag in enumerate(tags):
        logits[word, LABELS.index(tag)] = 10.0
    return logits


TEXT = "Amina Juma of Nairobi Kenya sat"
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "O"]


def decode(tokenizer: TextTokenizer, aggregation: ner.Aggregation, **more: tuple[str, ...]) -> list[tuple[str, str]]:
    encoded = ner.encode(TEXT, tokenizer, max_tokens=64)
    found = ner.decode(encoded, [logits_for(TAGS)], LABELS, aggregation=aggregation, **more)
    return [(entity.label, TEXT[entity.start : entity.end]) for entity in found]


def test_simple_aggregation_joins_words_and_a_b_tag_starts_anew(tokenizer: TextTokenizer) -> None:
    assert decode(tokenizer, "simple") == [("PER", "Amina Juma"), ("LOC", "Nairobi"), ("LOC", "Kenya")]


def test_without_aggregation_words_come_one_by_one(tokenizer: TextTokenizer) -> None:
    assert decode(tokenizer, "none") == [
        ("B-PER", "Amina"),
        ("I-PER", "Juma"),
        ("B-LOC", "Nairobi"),
        ("B-LOC", "Kenya"),
    ]


def test_ignore_labels(tokenizer: TextTokenizer) -> None:
    assert decode(tokenizer, "simple", ignore_labels=("O", "LOC")) == [("PER", "Amina Juma")]
    assert ("O", "of") in decode(tokenizer, "none", ignore_labels=())


def test_long_text_is_stitched_from_windows(tokenizer: TextTokenizer) -> None:
    text = " ".join(["cat", "Nairobi"] * 100)
    encoded = ner.encode(text, tokenizer, max_tokens=32)
    assert len(encoded.windows) > 5
    logits = [
        logits_for(["B-LOC" if word % 2 else "O" for word in range(row.window.start, row.window.stop)])
        for row in encoded.windows
    ]
    found = ner.decode(encoded, logits, LABELS)
    assert [text[entity.start : entity.end] for entity in found] == ["Nairobi"] * 100
    assert all(entity.score > 0.99 for entity in found)


def test_a_text_without_words_is_refused(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        ner.encode(" \n", tokenizer, max_tokens=32)
