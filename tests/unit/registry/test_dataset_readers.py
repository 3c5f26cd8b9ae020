"""The readers on made files: what they yield, and that every broken line is refused with its file and line number."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.datasets.errors import BrokenData, DataError, DataMissing, UnknownTag
from registry.datasets.locate import LocatedFile, own_file
from registry.datasets.readers.aligned import aligned_lines
from registry.datasets.readers.conll import read_conll
from registry.datasets.readers.lines import MAX_LINE_BYTES, read_lines
from registry.datasets.readers.reading import sentences_of, tagged_sentences_of
from registry.datasets.readers.tagged import TaggedSentence, to_labels
from registry.datasets.readers.text import read_text
from registry.datasets.readers.uner import read_uner

UNER = (
    "# newdoc id = one\n"
    "# text = Amina lives in Kano.\n"
    "1\tAmina\tB-PER\t-\tann\n"
    "2\tlives\tO\n"
    "3-4\tin Kano\t_\t-\t-\n"
    "3\tin\tO\t-\t-\n"
    "3.1\t_\t_\t-\t-\n"
    "4\tNew Kano\tB-LOC\t-\tann\n"
    "\n"
    "# text = #1\n"
    "1\t#\tO\t-\t-\n"
    "2\t1\tB-OTH\t-\tann\n"
)


def made(folder: Path, content: str | bytes) -> Path:
    path = folder / "made.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def drain(sentences: Iterator[object]) -> list[object]:
    return list(sentences)


def test_text_is_stripped_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    path = made(tmp_path, b"\xef\xbb\xbf Habari za asubuhi \r\n\r\n  \nB\xc9\x94\xc9\x94\xe2\x80\xa8 ma\n\tlast")
    assert list(read_text(path)) == ["Habari za asubuhi", "Bɔɔ\u2028 ma", "last"]


@pytest.mark.parametrize("content", ["", "\n \n\t\n"])
def test_text_without_a_sentence_is_refused(tmp_path: Path, content: str) -> None:
    path = made(tmp_path, content)
    with pytest.raises(BrokenData, match=r"made\.txt: ") as caught:
        drain(read_text(path))
    assert caught.value.line == 0


def test_bytes_that_are_no_utf8_name_file_line_and_byte(tmp_path: Path) -> None:
    path = made(tmp_path, b"one\ntwo\nol\xe9\n")
    with pytest.raises(BrokenData, match=r"made\.txt:3: byte 3 of the line \(0xe9\) is not UTF-8") as caught:
        drain(read_text(path))
    assert (caught.value.path, caught.value.line, caught.value.code) == (path, 3, "broken_data")


def test_lines_before_a_broken_one_are_read(tmp_path: Path) -> None:
    lines = read_lines(made(tmp_path, b"one\n\xff\n"))
    assert next(lines) == (1, "one")
    with pytest.raises(BrokenData):
        next(lines)


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    longest = made(tmp_path, b"x" * MAX_LINE_BYTES)
    assert [len(line) for _, line in read_lines(longest)] == [MAX_LINE_BYTES]
    with pytest.raises(BrokenData, match=":1: the line is longer"):
        drain(read_lines(made(tmp_path, b"x" * (MAX_LINE_BYTES + 1))))


@pytest.mark.parametrize("path", ["absent.txt", "."])
def test_a_file_that_cannot_be_opened(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataMissing, match="cannot read"):
        drain(read_text(tmp_path / path))


@pytest.mark.parametrize("separator", [" ", "\t", " \t "])
def test_conll_yields_words_and_tags(tmp_path: Path, separator: str) -> None:
    rows = ["-DOCSTART- O", "", "", "Amina B-PER", "Bello I-PER ", "# O", "", " ", "Kano B-LOC"]
    path = made(tmp_path, "\r\n".join(row.replace(" ", separator) for row in rows))
    assert list(read_conll(path)) == [
        TaggedSentence(words=("Amina", "Bello", "#"), tags=("B-PER", "I-PER", "O")),
        TaggedSentence(words=("Kano",), tags=("B-LOC",)),
    ]


def test_conll_takes_the_last_of_more_columns(tmp_path: Path) -> None:
    path = made(tmp_path, "Kano NNP B-NP B-LOC\n. . O O\n")
    assert list(read_conll(path)) == [TaggedSentence(words=("Kano", "."), tags=("B-LOC", "O"))]


def test_conll_keeps_other_unicode_spaces_inside_words(tmp_path: Path) -> None:
    path = made(tmp_path, "12\u00a0000 O\n\u200b O\n")
    assert [sentence.words for sentence in read_conll(path)] == [("12\u00a0000", "\u200b")]


def test_conll_keeps_an_inside_without_a_beginning(tmp_path: Path) -> None:
    path = made(tmp_path, "Bello I-PER\nKano I-LOC\n")
    assert [sentence.tags for sentence in read_conll(path)] == [("I-PER", "I-LOC")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Kano", "expected `word TAG`"),
        (" O", "expected `word TAG`"),
        ("Kano NNP B-LOC", "expected 2 columns as on the lines before, found 3"),
        ("Kano LOC", "IOB2.*found 'LOC'"),
        ("Kano S-LOC", "IOB2.*found 'S-LOC'"),
        ("Kano B-", "IOB2.*found 'B-'"),
        ("Kano o", "IOB2.*found 'o'"),
    ],
)
def test_a_broken_conll_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = made(tmp_path, f"Amina B-PER\n\n{line}\n")
    with pytest.raises(BrokenData, match=rf"made\.txt:3: .*{message}"):
        drain(read_conll(path))


@pytest.mark.parametrize("content", ["", "\n\n", "-DOCSTART- O\n\n"])
def test_conll_without_a_sentence_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BrokenData, match=r"empty|found no sentence"):
        drain(read_conll(made(tmp_path, content)))


def test_uner_skips_comments_ranges_and_empty_nodes(tmp_path: Path) -> None:
    assert list(read_uner(made(tmp_path, UNER))) == [
        TaggedSentence(words=("Amina", "lives", "in", "New Kano"), tags=("B-PER", "O", "O", "B-LOC")),
        TaggedSentence(words=("#", "1"), tags=("O", "B-OTH")),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\tKano", "expected 3 to 5 columns.*found 2"),
        ("2\tKano\tB-LOC\t-\tann\tmore", "expected 3 to 5 columns.*found 6"),
        ("2 Kano B-LOC", "expected 3 to 5 columns.*found 1"),
        ("3\tKano\tB-LOC", "expected the word id 2, found '3'"),
        ("1\tKano\tB-LOC", "expected the word id 2, found '1'"),
        ("2\t \tB-LOC", "expected a word"),
        ("2\tKano\tLOC", "IOB2.*found 'LOC'"),
        ("2\tKano\t", "IOB2.*found ''"),
    ],
)
def test_a_broken_uner_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = made(tmp_path, f"# text = x\n1\tAmina\tB-PER\n{line}\n")
    with pytest.raises(BrokenData, match=rf"made\.txt:3: .*{message}"):
        drain(read_uner(path))


@pytest.mark.parametrize("content", ["", "\n", "# a comment\n\n"])
def test_uner_without_a_sentence_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BrokenData, match=r"empty|found no sentence"):
        drain(read_uner(made(tmp_path, content)))


def test_types_outside_the_label_set_become_outside() -> None:
    sentence = TaggedSentence(
        words=("a", "b", "c", "d", "e", "f"), tags=("B-PER", "I-DATE", "B-OTH", "B-O", "I-MISC", "I-LOC")
    )
    assert to_labels(sentence).tags == ("B-PER", "O", "O", "O", "O", "I-LOC")
    assert to_labels(sentence).words == sentence.words


def test_a_dropped_type_stays_where_it_is_a_label() -> None:
    sentence = TaggedSentence(words=("leo", "jioni"), tags=("B-DATE", "I-DATE"))
    assert to_labels(sentence, ("O", "B-DATE", "I-DATE")).tags == ("B-DATE", "I-DATE")


def test_a_type_that_nobody_knows_is_no_silent_outside() -> None:
    with pytest.raises(UnknownTag, match="'B-PERSON'"):
        to_labels(TaggedSentence(words=("Amina",), tags=("B-PERSON",)))


def test_words_and_tags_are_as_many() -> None:
    with pytest.raises(ValueError, match="2 words, but 1 tags"):
        TaggedSentence(words=("a", "b"), tags=("O",))


def test_the_format_chooses_the_reader(tmp_path: Path) -> None:
    path = made(tmp_path, UNER)
    assert len(list(tagged_sentences_of(own_file(path, "uner")))) == 2
    assert len(list(sentences_of(own_file(path, "text")))) == 11
    with pytest.raises(BrokenData, match=r":1: "):
        drain(tagged_sentences_of(own_file(path, "conll")))
    with pytest.raises(DataError, match="plain text, but data with entity tags is needed"):
        tagged_sentences_of(own_file(path, "text"))
    with pytest.raises(DataError, match="uner data, but plain text is needed"):
        sentences_of(own_file(path, "uner"))


def aligned_files(folder: Path, **texts: str) -> dict[str, LocatedFile]:
    for language, text in texts.items():
        (folder / f"{language}.txt").write_text(text, encoding="utf-8")
    return {language: own_file(folder / f"{language}.txt", "text") for language in texts}


def test_a_line_that_one_language_lacks_is_left_out_of_all(tmp_path: Path) -> None:
    files = aligned_files(tmp_path, en="one\n\nthree \nfour\n", sw="moja\nmbili\ntatu\n  \n")
    assert aligned_lines(files) == {"en": ["one", "three"], "sw": ["moja", "tatu"]}


def test_translations_of_different_lengths_are_refused(tmp_path: Path) -> None:
    files = aligned_files(tmp_path, en="one\ntwo\n", sw="moja\nmbili\ntatu\n")
    with pytest.raises(BrokenData, match=r"sw\.txt:3: .*en\.txt has no such line") as caught:
        aligned_lines(files)
    assert caught.value.line == 3


def test_translations_are_plain_text(tmp_path: Path) -> None:
    files = aligned_files(tmp_path, en="one\n", sw="moja\n")
    with pytest.raises(DataError, match="sw is conll data, but plain text is needed"):
        aligned_lines(files | {"sw": own_file(tmp_path / "sw.txt", "conll")})
