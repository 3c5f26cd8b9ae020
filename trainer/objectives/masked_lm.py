"""Masked language modelling on packed chunks: cut, mask, loss, perplexity.

Lines become chunks of one length, so rows need no padding; logits are computed on masked positions only. Serves
language adapters and the pretraining of a whole backbone alike (`stack` then names no adapter).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F

from madx.backbone import Backbone, pack_equal
from madx.forward import masked_lm_logits
from madx.plan import IDENTITY, RowStack
from madx.stack import Adapters
from madx.tokenizer import SpecialIds, TextTokenizer

from ..errors import TooLittleData
from ..seeds import generator_of

Chunks = np.ndarray[tuple[int, int], np.dtype[np.int32]]

EVALUATION_TOKENS = 4096


def pack_chunks(lines: Iterable[Sequence[int]], length: int, special: SpecialIds) -> Chunks:
    """Piece ids line by line -> (N, length): start, pieces with the end token between lines, end (as RoBERTa packs).

    A last chunk that is not full is dropped. Raises `TooLittleData` if there is no full one.
    """
    if length < 3:
        raise ValueError(f"a chunk of {length} tokens holds no piece")
    stream = chain.from_iterable(chain(line, (special.end,)) for line in lines)
    body = length - 2
    flat = np.fromiter(stream, dtype=np.int32)
    count = len(flat) // body
    if count == 0:
        raise TooLittleData(f"the text has {len(flat)} tokens, less than one chunk of {length}; give more text")
    chunks = np.empty((count, length), dtype=np.int32)
    chunks[:, 0] = special.start
    chunks[:, 1:-1] = flat[: count * body].reshape(count, body)
    chunks[:, -1] = special.end
    return chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """Which ids may be masked and drawn: all of the vocabulary but the special ones."""

    mask_id: int
    is_ordinary: torch.Tensor  # (V,) bool
    ordinary_ids: torch.Tensor  # (fewer than V,) int64
    probability: float = 0.15

    @staticmethod
    def of(tokenizer: TextTokenizer, *, probability: float = 0.15) -> "Masking":
        ids = tokenizer.ids
        is_ordinary = torch.ones(tokenizer.vocab_size, dtype=torch.bool)
        is_ordinary[[ids.start, ids.end, ids.mask, ids.pad, ids.unknown]] = False
        return Masking(
            mask_id=ids.mask,
            is_ordinary=is_ordinary,
            ordinary_ids=is_ordinary.nonzero().flatten(),
            probability=probability,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBatch:
    """Corrupted rows (B, S), the flat places in them that are asked for (P,), and what stood there (P,)."""

    corrupted: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "MaskedBatch":
        return MaskedBatch(
            corrupted=self.corrupted.to(device), positions=self.positions.to(device), labels=self.labels.to(device)
        )


def mask(ids: torch.Tensor, generator: torch.Generator, masking: Masking) -> MaskedBatch:
    """Choose pieces of (B, S) int64 and hide them: 80 % become the mask, 10 % another piece, 10 % stay (BERT).

    Special tokens are never chosen; at least one piece is. Raises `TooLittleData` if all tokens are special.
    """
    flat = ids.flatten()
    candidates = masking.is_ordinary[flat].nonzero().flatten()
    if len(candidates) == 0:
        raise TooLittleData("a batch of text holds special tokens only; check that the tokenizer knows its script")
    chosen = torch.rand(len(candidates), generator=generator) < masking.probability
    if not chosen.any():
        chosen[torch.randint(len(candidates), (1,), generator=generator)] = True
    positions = candidates[chosen]
    fate = torch.rand(len(positions), generator=generator)
    drawn = torch.randint(len(masking.ordinary_ids), (len(positions),), generator=generator)
    labels = flat[positions]
    hidden = torch.where(fate < 0.8, masking.mask_id, torch.where(fate < 0.9, masking.ordinary_ids[drawn], labels))
    corrupted = flat.clone()
    corrupted[positions] = hidden
    return MaskedBatch(corrupted=corrupted.view_as(ids), positions=positions, labels=labels)


def loss(backbone: Backbone, adapters: Adapters, stack: RowStack, batch: MaskedBatch) -> torch.Tensor:
    """Mean cross entropy over the masked positions, float32; all rows run through `stack`."""
    hidden = backbone(pack_equal(batch.corrupted, stack, backbone.config), adapters)  # (B S, D)
    language = None if stack.language == IDENTITY else adapters[stack.language]
    logits = masked_lm_logits(backbone, language, hidden.index_select(0, batch.positions))  # (P, V)
    return F.cross_entropy(logits.float(), batch.labels)


def held_out_batches(chunks: Chunks, seed: int, masking: Masking) -> Iterator[MaskedBatch]:
    """Held-out chunks in order, masked the same way every time."""
    rows = max(1, EVALUATION_TOKENS // chunks.shape[1])
    for number, first in enumerate(range(0, len(chunks), rows)):
        ids = torch.from_numpy(chunks[first : first + rows].astype(np.int64))
        yield mask(ids, generator_of(seed, "held-out", number), masking)


@torch.no_grad()
def perplexity(backbone: Backbone, adapters: Adapters, stack: RowStack, batches: Iterable[MaskedBatch]) -> float:
    """exp of the mean loss per masked piece, with dropout off."""
    was_training = backbone.training
    backbone.eval()
    total, count = 0.0, 0
    try:
        for batch in batches:
            measured = loss(backbone, adapters, stack, batch.to(backbone.device)).item()
            total += measured * len(batch.labels)
            count += len(batch.labels)
    finally:
        backbone.train(was_training)
    return math.exp(min(total / count, 700.0))
