"""Pretraining from scratch: vocabulary, initial weights, corpus, and a whole small run."""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from madx.backbone import Attention, Backbone
from madx.loading import load_backbone
from madx.manifest import DataRef
from tests.support.training import write_text
from trainer.holdout import is_held_out
from trainer.loop import Step
from trainer.pretrain.corpus import LanguageText, build_corpus, read_language, vocabulary_lines
from trainer.pretrain.initialise import Floats, cooccurrence_embeddings, initialise, log_unigram, sinusoids
from trainer.pretrain.run import CARD_FILE, Pretrained, PretrainSpec, pretrain
from trainer.pretrain.translations import Translations, line_counts, translation_chunks
from trainer.pretrain.vocabulary import train_vocabulary

EN, SW = "abcdefghijklmnopqrst", "αβγδεζηθικλμνξοπρστυ"
"""A word each, of one meaning where they stand at the same place."""

SPEC = PretrainSpec(
    hidden_size=32,
    num_layers=2,
    num_heads=2,
    intermediate_size=48,
    vocab_size=340,
    chunk_tokens=24,
    batch_rows=4,
    steps=12,
    vocabulary_characters=4_000,
    checkpoint_every=5,
    compiled=False,
    bf16=False,
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageText]:
    folder = tmp_path_factory.mktemp("text")
    made = {}
    for seed, code in enumerate(("en", "sw")):
        path = write_text(folder / f"{code}.txt", lines=1500, seed=seed)
        made[code] = read_language(iter(path.read_text(encoding="utf-8").splitlines()))
    return made


def run(
    texts: dict[str, LanguageText],
    folder: Path,
    on_step: Callable[[Step], None] = lambda _: None,
    translations: Sequence[Mapping[str, Sequence[str]]] = (),
) -> Pretrained:
    data = {code: DataRef(name=code, split="train", digest="0" * 64) for code in texts}
    return pretrain(
        SPEC,
        texts,
        data,
        folder / "run",
        folder / "out",
        translations=translations,
        device=torch.device("cpu"),
        on_step=on_step,
        on_phase=lambda _: None,
    )


def test_the_vocabulary_has_the_asked_size_and_writes_unseen_signs_in_bytes(texts: dict[str, LanguageText]) -> None:
    lines = [*vocabulary_lines(texts, characters=4_000, coverage=1.0), *["a mat. the cat."] * 20]
    tokenizer = train_vocabulary(lines, 340)
    assert train_vocabulary(lines, 340).definition == tokenizer.definition
    assert tokenizer.vocab_size == 340
    assert (tokenizer.ids.start, tokenizer.ids.pad, tokenizer.ids.end, tokenizer.ids.unknown) == (0, 1, 2, 3)
    assert tokenizer.ids.mask == 339
    ids = tokenizer.encode("cat ọ̀ 北")
    assert tokenizer.ids.unknown not in ids
    assert [tokenizer.piece(number) for number in ids if tokenizer.piece(number).startswith("<0x")]
    assert tokenizer.decode(ids) == "cat ọ̀ 北"
    assert tokenizer.piece(tokenizer.encode("mat.")[-1]) == "."


def test_rare_signs_are_left_to_bytes() -> None:
    lines = ["abc abc abc"] * 100 + ["北"]
    kept = list(vocabulary_lines({"xx": LanguageText(training=lines, held_out=())}, characters=10_000, coverage=0.99))
    assert "北" not in "".join(kept)
    assert "abc" in kept[0]


def test_no_language_owns_the_vocabulary() -> None:
    texts = {
        "big": LanguageText(training=["b" * 10] * 1000, held_out=()),
        "small": LanguageText(training=["s" * 10] * 10, held_out=()),
    }
    lines = list(vocabulary_lines(texts, characters=200, coverage=1.0))
    assert sum(line.startswith("b") for line in lines) == 20
    assert sum(line.startswith("s") for line in lines) == 10


def test_batches_are_a_pure_function_of_the_step_and_favour_small_languages(texts: dict[str, LanguageText]) -> None:
    tokenizer = train_vocabulary(vocabulary_lines(texts, characters=4_000, coverage=1.0), 340)
    uneven = {"en": texts["en"], "sw": LanguageText(training=texts["sw"].training[:100], held_out=texts["sw"].held_out)}
    corpus = build_corpus(uneven, tokenizer, length=24, exponent=0.5)
    assert torch.equal(corpus.batch(3, 8, seed=1), corpus.batch(3, 8, seed=1))
    assert not torch.equal(corpus.batch(3, 8, seed=1), corpus.batch(4, 8, seed=1))
    en, sw = (len(corpus.training[code]) for code in ("en", "sw"))
    share = corpus.probabilities[1] / corpus.probabilities.sum()
    assert share.item() == pytest.approx(math.sqrt(sw) / (math.sqrt(sw) + math.sqrt(en)))


def test_held_out_lines_are_never_trained_on(texts: dict[str, LanguageText]) -> None:
    for text in texts.values():
        assert text.held_out
        assert all(is_held_out(line) for line in text.held_out)
        assert not any(is_held_out(line) for line in text.training)


@pytest.fixture(scope="module")
def aligned() -> dict[str, list[str]]:
    """Each word of one language has its own in the other, which shares no piece with it."""
    generator = random.Random(5)
    lines = [[generator.randrange(20) for _ in range(6)] for _ in range(800)]
    return {
        "en": [" ".join(EN[word] for word in line) for line in lines],
        "sw": [" ".join(SW[word] for word in line) for line in lines],
    }


def test_lines_held_out_in_one_language_are_read_in_none(aligned: dict[str, list[str]]) -> None:
    tokenizer = train_vocabulary(aligned["en"] + aligned["sw"], 400)
    read = Translations.of(aligned, tokenizer)
    kept = [pair for pair in zip(*aligned.values(), strict=True) if not any(map(is_held_out, pair))]
    assert 0 < len(kept) < len(aligned["en"])
    assert [tokenizer.decode(line) for line in read.lines["sw"]] == [pair[1] for pair in kept]


def test_a_line_is_followed_by_its_translation(aligned: dict[str, list[str]]) -> None:
    tokenizer = train_vocabulary(aligned["en"] + aligned["sw"], 400)
    read = Translations.of(aligned, tokenizer)
    chunks = translation_chunks([read], tokenizer, 200)
    stream = chunks[:, 1:-1].ravel().tolist()
    first, second = read.lines["en"], read.lines["sw"]
    end = [tokenizer.ids.end]
    expected = [*first[0], *end, *second[0], *end, *second[1], *end, *first[1], *end]
    assert stream[: len(expected)] == expected


def test_pieces_of_one_meaning_start_out_alike(aligned: dict[str, list[str]]) -> None:
    """The text of each language alone says nothing of the other."""
    tokenizer = train_vocabulary(aligned["en"] + aligned["sw"], 400)
    texts = {code: read_language(iter(lines)) for code, lines in aligned.items()}
    chunks = build_corpus(texts, tokenizer, length=24, exponent=0.5).all_training()
    counts = line_counts([Translations.of(aligned, tokenizer)], 400)
    en, sw = (np.array([tokenizer.encode(word)[-1] for word in words]) for words in (EN, SW))

    def found(vectors: Floats) -> float:
        """For how many words the translation is the nearest of the other language's."""
        return float(np.mean((vectors[en] @ vectors[sw].T).argmax(axis=1) == np.arange(len(EN))))

    assert found(cooccurrence_embeddings(chunks, 400, 24, seed=0, lines=counts)) > 0.9
    assert found(cooccurrence_embeddings(chunks, 400, 24, seed=0)) < 0.5


def test_a_single_line_of_translations_changes_no_embedding() -> None:
    chunks = np.random.default_rng(0).integers(0, 50, size=(40, 24))
    line = scipy.sparse.csr_matrix((np.ones(3), ([1, 2, 3], [0, 0, 0])), shape=(50, 1))
    without = cooccurrence_embeddings(chunks, 50, 8, seed=0)
    np.testing.assert_array_equal(cooccurrence_embeddings(chunks, 50, 8, seed=0, lines=line), without)


def test_translations_are_their_share_of_the_rows(
    texts: dict[str, LanguageText], aligned: dict[str, list[str]]
) -> None:
    tokenizer = train_vocabulary(
        [*vocabulary_lines(texts, characters=4_000, coverage=1.0), *aligned["en"], *aligned["sw"]], 400
    )
    read = Translations.of(aligned, tokenizer)
    corpus = build_corpus(texts, tokenizer, length=24, exponent=0.5, translations=[read], translation_share=0.3)
    assert corpus.translations is not None
    known = {row.tobytes() for row in corpus.translations.astype(np.int64)}
    rows = [row.numpy().tobytes() in known for step in range(50) for row in corpus.batch(step, 16, seed=1)]
    assert sum(rows) / len(rows) == pytest.approx(0.3, abs=0.05)


def test_first_heads_attend_to_near_neighbours(texts: dict[str, LanguageText]) -> None:
    tokenizer = train_vocabulary(vocabulary_lines(texts, characters=4_000, coverage=1.0), 340)
    spec = replace(SPEC, hidden_size=64, chunk_tokens=32)
    chunks = build_corpus(texts, tokenizer, length=32, exponent=0.5).all_training()
    backbone = Backbone(spec.backbone_config(tokenizer)).eval()
    initialise(backbone, chunks, seed=0)
    ids = torch.from_numpy(chunks[0].astype(np.int64))
    positions = torch.arange(32) + backbone.config.position_offset
    embedded = backbone.embeddings.norm(backbone.embeddings.word(ids) + backbone.embeddings.position(positions))
    attention = backbone.layers[0].attention
    assert isinstance(attention, Attention)
    query, key, _ = attention.qkv(embedded).view(32, 3, 2, 32).unbind(1)
    for head, offset in ((0, -1), (1, 1)):
        scores = query[:, head] @ key[:, head].T
        found = scores[4:28].argmax(-1) - torch.arange(4, 28)
        assert (found == offset).float().mean() > 0.9


def test_the_output_bias_starts_at_unigram_frequencies() -> None:
    logs = log_unigram(np.array([7.5, 1.5, 0.0]))
    assert np.exp(logs).sum() == pytest.approx(1.0)
    assert np.exp(logs) == pytest.approx([0.8 * 10 / 10.5, 0.2 * 10 / 10.5, 0.5 / 10.5])


def test_sinusoids_have_one_norm() -> None:
    table = sinusoids(50, np.geomspace(1.5, 0.01, 8))
    assert np.linalg.norm(table, axis=1) == pytest.approx(np.full(50, math.sqrt(8)), rel=1e-5)


def test_a_run_writes_a_backbone_that_loads_and_a_card(texts: dict[str, LanguageText], tmp_path: Path) -> None:
    losses: list[float] = []
    done = run(texts, tmp_path, lambda step: losses.append(step.loss))
    assert (done.steps, len(losses)) == (12, 12)
    loaded = load_backbone(tmp_path / "out")
    assert loaded.config.max_tokens == 24
    assert loaded.backbone.masked_lm is not None
    card = json.loads((tmp_path / "out" / CARD_FILE).read_text(encoding="utf-8"))
    assert card["data"]["sw"]["digest"] == "0" * 64
    assert set(card["held_out_perplexity"]) == {"en", "sw"}
    assert all(1 < value < 340 for value in done.perplexity.values())


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(texts: dict[str, LanguageText], tmp_path: Path) -> None:
    run(texts, tmp_path / "whole")

    def stop(step: Step) -> None:
        if step.number == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(texts, tmp_path / "parts", stop)
    numbers: list[int] = []
    run(texts, tmp_path / "parts", lambda step: numbers.append(step.number))
    assert numbers == [8, 9, 10, 11, 12]
    whole, parts = (load_backbone(tmp_path / name / "out").fingerprint for name in ("whole", "parts"))
    assert whole == parts


def test_a_run_with_translations_trains_on_them(
    texts: dict[str, LanguageText], aligned: dict[str, list[str]], tmp_path: Path
) -> None:
    run(texts, tmp_path / "without")
    run(texts, tmp_path / "with", translations=[aligned])
    with_them, without = (load_backbone(tmp_path / name / "out").fingerprint for name in ("with", "without"))
    assert with_them != without
