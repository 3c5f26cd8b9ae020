"""No evaluation sentence is in a text that backbones and language adapters are trained on.

Neither as a whole line of five words nor by eight words in a row, both without case and punctuation; shorter lines are
anybody's ("What do you think?"). `make overlap` holds every text of the built-in catalogue against every evaluation set
below `GLOSSA_DATA_DIR`, those of tasks still to come among them.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from registry.datasets.catalogue import load_catalogue
from registry.datasets.dataset import DataSet
from registry.datasets.locate import locate_file
from registry.datasets.readers.text import read_text

LINE, RUN = 5, 8
CHINESE_RUN = 2 * RUN
"""Each Chinese character counts as a word, and words have two or so."""
EVALUATION = (
    "uner/*/*-ud-dev.iob2",
    "uner/*/*-ud-test.iob2",
    "masakhaner/data/*/dev.txt",
    "masakhaner/data/*/test.txt",
    "masakhaner/MasakhaNER2.0/data/*/dev.txt",
    "masakhaner/MasakhaNER2.0/data/*/test.txt",
    "ud/*/*-ud-dev.conllu",
    "ud/*/*-ud-test.conllu",
    "nli_en_cf/NLI/*/dev.tsv",
    "nli_en_cf/NLI/*/test.tsv",
    "americasnli/*/gn.tsv",
    "xnli_myxnli/output/*/*.tsv",
    "tydiqa_goldp/language_data/*/*_dev.json",
    "xquad/xquad.*.json",
    "ecare/dataset/*/dev.jsonl",
    "copa_en/*.xml",
    "xcopa/data/*/*.jsonl",
    "socialiqa/data/*/dev.jsonl",
)
_CHINESE = re.compile(r"[\u3400-\u9fff]")

Words = tuple[str, ...]


def words_of(sentence: str) -> Words:
    """Runs of letters, marks and digits."""
    signs = unicodedata.normalize("NFKC", sentence).casefold()
    apart = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in signs)
    return tuple(_CHINESE.sub(r" \g<0> ", apart).split())


def runs_of(words: Words) -> Iterator[int]:
    length = CHINESE_RUN if any(map(_CHINESE.match, words)) else RUN
    return (hash(words[first : first + length]) for first in range(len(words) - length + 1))


def sentences_of(path: Path) -> Iterator[str]:
    """Whatever may be a sentence: each field of a table, each string, each tagged or parsed sentence."""
    text = path.read_text(encoding="utf-8-sig")
    match path.suffix:
        case ".tsv":
            yield from (field for line in text.splitlines() for field in line.split("\t"))
        case ".json":
            yield from strings_of(json.loads(text))
        case ".jsonl":
            yield from (found for line in text.splitlines() for found in strings_of(json.loads(line)))
        case ".xml":
            yield from ElementTree.fromstring(text).itertext()
        case ".txt":
            yield from tokens_of(text, column=0)
        case _:
            yield from tokens_of(text, column=1)


def strings_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_of(part)


def tokens_of(text: str, *, column: int) -> Iterator[str]:
    for block in re.split(r"\n[ \t]*\n", text):
        rows = [re.split(r"[ \t]", line) for line in block.splitlines() if not line.startswith("#")]
        yield " ".join(row[column] for row in rows if len(row) > column)


@pytest.fixture(scope="module")
def data_dir() -> Path:
    if "GLOSSA_DATA_DIR" not in os.environ:
        pytest.skip("GLOSSA_DATA_DIR is not set")
    return Path(os.environ["GLOSSA_DATA_DIR"])


@pytest.fixture(scope="module")
def evaluated(data_dir: Path) -> set[Words]:
    """All evaluation sentences, each once."""
    files = {pattern: sorted(data_dir.glob(pattern)) for pattern in EVALUATION}
    assert all(files.values()), [pattern for pattern, found in files.items() if not found]
    return {words_of(sentence) for found in files.values() for path in found for sentence in sentences_of(path)}


@pytest.fixture(scope="module")
def evaluated_runs(evaluated: set[Words]) -> set[int]:
    return {run for words in evaluated for run in runs_of(words)}


NOT_TRAINED_ON = pytest.mark.xfail(reason="six of its lines are those of the Uyghur treebank", strict=True)
TEXTS = [
    pytest.param(dataset, id=dataset.name, marks=NOT_TRAINED_ON if dataset.name == "text-uig" else ())
    for dataset in load_catalogue().select(task="text")
]


@pytest.mark.parametrize("dataset", TEXTS)
def test_no_evaluation_sentence_is_in_the_text(
    dataset: DataSet, data_dir: Path, evaluated: set[Words], evaluated_runs: set[int], tmp_path: Path
) -> None:
    text = locate_file(dataset, "train", data_dir=data_dir, cache_dir=tmp_path)
    found = [
        line
        for line, words in ((line, words_of(line)) for line in read_text(text.path))
        if (len(words) >= LINE and words in evaluated) or not evaluated_runs.isdisjoint(runs_of(words))
    ]
    assert found == []


def test_overlaps_are_seen() -> None:
    """Whatever the case and punctuation."""
    assert words_of("मुक्केबाज सरिता") == ("मुक्केबाज", "सरिता")
    assert words_of("Habari, «Juma»!") == words_of("habari juma")
    assert words_of("我住在北京") == ("我", "住", "在", "北", "京")
    line, other = (words_of(f"{first} b c d e f g h {last}") for first, last in (("a", "i"), ("x", "y")))
    assert set(runs_of(line)).isdisjoint(runs_of(other))
    assert not set(runs_of(line)).isdisjoint(runs_of((*other, *words_of("A b c, d e f g h."))))
