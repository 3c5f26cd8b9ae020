"""Chunks, masks, loss and perplexity of masked language modelling."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from madx.config import HeadConfig, language_config
from madx.forward import hidden_states, masked_lm_logits
from madx.loading import LoadedBackbone
from madx.plan import BARE, RowStack, Slot
from madx.tokenizer import SpecialIds
from tests.support.tiny import make_adapter
from trainer.errors import TooLittleData
from trainer.objectives import masked_lm
from trainer.objectives.masked_lm import Masking, held_out_batches, mask, pack_chunks
from trainer.seeds import generator_of

SPECIAL = SpecialIds(start=0, end=2, mask=9, pad=1, unknown=3)


def random_rows(loaded: LoadedBackbone, rows: int, length: int) -> torch.Tensor:
    ids = loaded.tokenizer.ids
    generator = generator_of(3, "rows")
    body = torch.randint(5, loaded.tokenizer.vocab_size - 1, (rows, length), generator=generator)
    body[:, 0], body[:, -1] = ids.start, ids.end
    return body


def test_lines_run_through_chunks_with_end_tokens_between() -> None:
    chunks = pack_chunks([[4, 5, 6], [7], [8, 4, 5, 6]], 6, SPECIAL)
    assert chunks.tolist() == [[0, 4, 5, 6, 2, 2], [0, 7, 2, 8, 4, 2]]
    assert chunks.dtype == np.int32


def test_text_that_fills_no_chunk_is_refused() -> None:
    with pytest.raises(TooLittleData, match="3 tokens, less than one chunk of 8"):
        pack_chunks([[4, 5]], 8, SPECIAL)


def test_masks_take_the_published_shares_and_spare_special_tokens(tiny_loaded: LoadedBackbone) -> None:
    ids = random_rows(tiny_loaded, 400, 100)
    masking = Masking.of(tiny_loaded.tokenizer)
    batch = mask(ids, generator_of(1, "masks", 1), masking)
    flat, corrupted = ids.flatten(), batch.corrupted.flatten()
    assert torch.equal(batch.labels, flat[batch.positions])
    assert masking.is_ordinary[batch.labels].all()
    assert len(batch.positions) / (400 * 98) == pytest.approx(0.15, abs=0.01)
    seen = corrupted[batch.positions]
    assert (seen == masking.mask_id).float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert (seen == batch.labels).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert masking.is_ordinary[seen[seen != masking.mask_id]].all()
    untouched = torch.ones(len(flat), dtype=torch.bool)
    untouched[batch.positions] = False
    assert torch.equal(corrupted[untouched], flat[untouched])


def test_masks_depend_on_their_generator_alone(tiny_loaded: LoadedBackbone) -> None:
    ids = random_rows(tiny_loaded, 4, 30)
    masking = Masking.of(tiny_loaded.tokenizer)
    first = mask(ids, generator_of(1, "masks", 7), masking)
    torch.rand(10)
    again = mask(ids, generator_of(1, "masks", 7), masking)
    assert torch.equal(first.corrupted, again.corrupted)
    assert not torch.equal(first.corrupted, mask(ids, generator_of(1, "masks", 8), masking).corrupted)


def test_at_least_one_piece_is_masked(tiny_loaded: LoadedBackbone) -> None:
    ids = random_rows(tiny_loaded, 1, 3)
    masking = Masking.of(tiny_loaded.tokenizer, probability=0.0)
    assert mask(ids, generator_of(1, "masks"), masking).positions.tolist() == [1]
    special = tiny_loaded.tokenizer.ids
    with pytest.raises(TooLittleData, match="special tokens only"):
        mask(torch.tensor([[special.start, special.unknown, special.end]]), generator_of(1, "masks"), masking)


@pytest.mark.parametrize("kind", ["bare", "with inverse", "without inverse", "own head"])
def test_the_loss_is_that_of_logits_over_all_positions(tiny_loaded: LoadedBackbone, kind: str) -> None:
    backbone = tiny_loaded.backbone
    ids = random_rows(tiny_loaded, 5, 20)
    batch = mask(ids, generator_of(2, "masks"), Masking.of(tiny_loaded.tokenizer))
    adapters, stack = {}, BARE
    if kind != "bare":
        head = HeadConfig(type="masked_lm") if kind == "own head" else None
        config = language_config(invertible=kind != "without inverse")
        adapters, stack = {Slot(1): make_adapter(tiny_loaded.config, config, head=head)}, RowStack(language=Slot(1))
    hidden, _ = hidden_states(backbone, adapters, batch.corrupted.tolist(), [stack] * 5)
    logits = masked_lm_logits(backbone, adapters.get(Slot(1)), hidden)
    targets = torch.full((100,), -100)
    targets[batch.positions] = ids.flatten()[batch.positions]
    expected = F.cross_entropy(logits, targets, ignore_index=-100)
    found = masked_lm.loss(backbone, adapters, stack, batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_perplexity_weighs_pieces_and_switches_dropout_off(tiny_loaded: LoadedBackbone) -> None:
    backbone = tiny_loaded.backbone
    chunks = random_rows(tiny_loaded, 130, 64).numpy().astype(np.int32)
    batches = list(held_out_batches(chunks, 4, Masking.of(tiny_loaded.tokenizer)))
    assert len(batches) == 3
    expected = sum(masked_lm.loss(backbone, {}, BARE, batch).item() * len(batch.labels) for batch in batches)
    expected /= sum(len(batch.labels) for batch in batches)
    backbone.set_dropout(0.5)
    backbone.train()
    try:
        found = masked_lm.perplexity(backbone, {}, BARE, batches)
        assert backbone.training
    finally:
        backbone.set_dropout(0.0)
        backbone.eval()
    assert found == pytest.approx(math.exp(expected), rel=1e-5)
