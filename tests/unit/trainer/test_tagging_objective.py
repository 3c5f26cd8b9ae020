"""Sentences to labelled rows, the loss over first pieces, predictions, and entity scores."""

import pytest
import torch
import torch.nn.functional as F

from madx.adapter import Adapter
from madx.config import HeadConfig, task_config
from madx.forward import Row, infer
from madx.loading import LoadedBackbone
from madx.plan import RowStack, Slot
from tests.support.tiny import NER_LABELS, make_adapter
from trainer.objectives import tagging
from trainer.objectives.tagging import LabelledRow, LengthOrder, entity_score, labelled_rows

STACK = RowStack(task=Slot(2))
WORDS = ("Juma", "anaishi", "in", "London")
TAGS = ("B-PER", "O", "O", "B-LOC")


@pytest.fixture
def adapter(tiny_loaded: LoadedBackbone) -> Adapter:
    return make_adapter(
        tiny_loaded.config, task_config(reduction=2), head=HeadConfig(type="tagging", labels=NER_LABELS)
    )


def rows_of(
    loaded: LoadedBackbone, words: tuple[str, ...], tags: tuple[str, ...], max_tokens: int
) -> list[LabelledRow]:
    return list(labelled_rows(words, tags, NER_LABELS, loaded.tokenizer, max_tokens=max_tokens))


def test_each_words_first_piece_carries_its_tag(tiny_loaded: LoadedBackbone) -> None:
    words, tags = ("zzz", "Juma", "qq"), ("B-ORG", "B-PER", "O")
    (row,) = rows_of(tiny_loaded, words, tags, 128)
    pieces = tiny_loaded.tokenizer.encode_words(words)
    assert [len(ids) > 1 for ids in pieces] == [True, False, True]
    assert [row.input_ids[place] for place in row.positions] == [ids[0] for ids in pieces]
    assert [NER_LABELS[label] for label in row.labels] == list(tags)


def test_a_long_sentence_is_cut_into_rows_and_no_word_is_lost_or_doubled(tiny_loaded: LoadedBackbone) -> None:
    words, tags = WORDS * 20, TAGS * 20
    rows = rows_of(tiny_loaded, words, tags, 16)
    assert len(rows) > 3
    assert all(len(row.input_ids) <= 16 for row in rows)
    assert [NER_LABELS[label] for row in rows for label in row.labels] == list(tags)


def test_the_loss_is_the_mean_over_all_words_whatever_the_row_lengths(
    tiny_loaded: LoadedBackbone, adapter: Adapter
) -> None:
    rows = rows_of(tiny_loaded, WORDS, TAGS, 128) + rows_of(tiny_loaded, WORDS * 3, TAGS * 3, 128)
    adapters = {Slot(2): adapter}
    logits = infer(
        tiny_loaded.backbone,
        adapters,
        [Row(input_ids=row.input_ids, positions=row.positions, stack=STACK) for row in rows],
    )
    labels = torch.tensor([label for row in rows for label in row.labels])
    expected = F.cross_entropy(torch.cat(logits), labels).item()
    found = tagging.loss(tiny_loaded.backbone, adapters, STACK, rows).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_predictions_of_a_batch_are_those_of_each_sentence_alone(tiny_loaded: LoadedBackbone, adapter: Adapter) -> None:
    sentences = [WORDS, WORDS[::-1], WORDS * 60, ("Paris",)]

    def predict(*words: tuple[str, ...]) -> list[list[str]]:
        return tagging.predict(
            tiny_loaded.backbone, {Slot(2): adapter}, STACK, words, NER_LABELS, tiny_loaded.tokenizer
        )

    together = predict(*sentences)
    assert [len(tags) for tags in together] == [4, 4, 240, 1]
    assert together == [predict(words)[0] for words in sentences]


def test_entities_count_only_when_ends_and_type_match() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"]]
    assert entity_score(gold, gold).f1 == 1.0
    found = entity_score(gold, [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "O"]])
    assert found.precision == pytest.approx(1 / 3)
    assert found.recall == pytest.approx(1 / 3)


def test_scores_are_micro_averages() -> None:
    gold = [["B-PER"], ["B-PER"], ["B-PER"], ["B-LOC"]]
    found = entity_score(gold, [["B-PER"], ["B-PER"], ["B-PER"], ["O"]])
    assert (found.precision, found.recall) == (1.0, 0.75)


def test_nothing_found_scores_zero_without_a_warning() -> None:
    assert entity_score([["O", "B-PER"]], [["O", "O"]]).f1 == 0.0
    assert entity_score([["O"]], [["O"]]).f1 == 0.0


def test_an_epoch_keeps_like_lengths_together() -> None:
    order = LengthOrder(lengths=list(range(1, 65)), batch=8, seed=0)
    spreads = [max(batch) - min(batch) for batch in map(order.at, range(1, 9))]
    assert spreads == [7] * 8
