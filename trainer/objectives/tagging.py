"""Tagging: sentences -> rows labelled at each word's first piece, batches, loss; predictions -> entity F1.

A long sentence becomes several rows, and every word is labelled in exactly one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from seqeval.metrics import f1_score, precision_score, recall_score

from madx.backbone import Backbone
from madx.forward import Row, hidden_states, infer
from madx.heads.tagging import TaggingHead
from madx.plan import RowStack
from madx.stack import Adapters
from madx.tasks.ner import EncodedWindow, Scores, encode_words, word_scores
from madx.tokenizer import TextTokenizer

from ..errors import TooLittleData
from ..seeds import seed_of

_POOL_BATCHES = 32
EVALUATION_TOKENS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRow:
    """A row's ids with special tokens; the places of its words' first pieces, and the label number of each."""

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    labels: tuple[int, ...]


def labelled_rows(
    words: Sequence[str], tags: Sequence[str], labels: Sequence[str], tokenizer: TextTokenizer, *, max_tokens: int
) -> Iterator[LabelledRow]:
    """One sentence -> its rows. All `tags` are among `labels`."""
    numbers = {label: number for number, label in enumerate(labels)}
    for encoded in encode_words(words, tokenizer, max_tokens=max_tokens, overlap=0):
        window = encoded.window
        yield LabelledRow(
            input_ids=encoded.input_ids,
            positions=encoded.positions,
            labels=tuple(numbers[tag] for tag in tags[window.start : window.stop]),
        )


@dataclass(slots=True, kw_only=True)
class LengthOrder:
    """Which rows the batch of each step takes: shuffled each epoch, rows of like length together.

    Attention alone pads, so likeness of lengths only saves time. The last batch of an epoch may be smaller.
    """

    lengths: Sequence[int]
    batch: int
    seed: int
    _epochs: dict[int, list[list[int]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.lengths:
            raise TooLittleData("there is no sentence to train on; give more data")

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.batch)

    def at(self, step: int) -> list[int]:
        """Row numbers of step `step`, counted from 1."""
        epoch, place = divmod(step - 1, self.steps_per_epoch)
        if epoch not in self._epochs:
            self._epochs = {epoch: self._batches(epoch)}
        return self._epochs[epoch][place]

    def _batches(self, epoch: int) -> list[list[int]]:
        generator = np.random.default_rng(seed_of(self.seed, "order", epoch))
        order = [int(row) for row in generator.permutation(len(self.lengths))]
        pool = self.batch * _POOL_BATCHES
        batches: list[list[int]] = []
        for first in range(0, len(order), pool):
            alike = sorted(order[first : first + pool], key=lambda row: self.lengths[row])
            batches.extend(alike[start : start + self.batch] for start in range(0, len(alike), self.batch))
        return [batches[place] for place in generator.permutation(len(batches))]


def loss(backbone: Backbone, adapters: Adapters, stack: RowStack, rows: Sequence[LabelledRow]) -> torch.Tensor:
    """Mean cross entropy over the words of all rows, float32, through the task adapter's own head."""
    hidden, plan = hidden_states(backbone, adapters, [row.input_ids for row in rows], [stack] * len(rows))
    starts = [plan.starts[place] for place in plan.position_of()]
    places = [start + place for start, row in zip(starts, rows, strict=True) for place in row.positions]
    labels = [label for row in rows for label in row.labels]
    head = adapters[stack.task].head
    assert isinstance(head, TaggingHead)
    read = hidden.index_select(0, torch.tensor(places, device=hidden.device))  # (words, D)
    logits: torch.Tensor = head(read)
    return F.cross_entropy(logits.float(), torch.tensor(labels, device=hidden.device))


def predict(
    backbone: Backbone,
    adapters: Adapters,
    stack: RowStack,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[str],
    tokenizer: TextTokenizer,
) -> list[list[str]]:
    """The label of every word. Long sentences are read by overlapping rows; each word's best row decides.

    The backbone and the task adapter must be in evaluation mode.
    """
    max_tokens = backbone.config.max_tokens
    encoded = [
        encode_words(words, tokenizer, max_tokens=max_tokens, overlap=(max_tokens - 2) // 4) for words in sentences
    ]
    windows = [(sentence, window) for sentence, rows in enumerate(encoded) for window in rows]
    scores: list[list[Scores]] = [[] for _ in encoded]
    found: dict[int, Scores] = {}
    for batch in _token_batches([len(window.input_ids) for _, window in windows]):
        found.update(zip(batch, _logits(backbone, adapters, stack, [windows[at][1] for at in batch]), strict=True))
    for at, (sentence, _) in enumerate(windows):
        scores[sentence].append(found[at])
    best = [word_scores(rows, logits).argmax(axis=1) for rows, logits in zip(encoded, scores, strict=True)]
    return [[labels[number] for number in sentence] for sentence in best]


def _logits(backbone: Backbone, adapters: Adapters, stack: RowStack, windows: Sequence[EncodedWindow]) -> list[Scores]:
    rows = [Row(input_ids=window.input_ids, positions=window.positions, stack=stack) for window in windows]
    return [logits.cpu().numpy() for logits in infer(backbone, adapters, rows)]


def _token_batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows of like length together, at most `EVALUATION_TOKENS` a batch, longest first."""
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and tokens + lengths[row] > EVALUATION_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityScore:
    """Micro scores over entities, between 0 and 1; a predicted entity counts where both its ends and its type match."""

    precision: float
    recall: float
    f1: float


def entity_score(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> EntityScore:
    """seqeval's default scoring (that of conlleval). Sentences of IOB2 tags, in the same order."""
    expected, found = [list(tags) for tags in gold], [list(tags) for tags in predicted]
    return EntityScore(
        precision=float(precision_score(expected, found, zero_division=0)),
        recall=float(recall_score(expected, found, zero_division=0)),
        f1=float(f1_score(expected, found, zero_division=0)),
    )
