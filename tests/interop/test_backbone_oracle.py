"""The bare packed backbone against `transformers`, row by row."""

from pathlib import Path

import pytest
import torch
import transformers

from madx.forward import hidden_states
from madx.linear import prepack
from madx.loading import load_backbone
from madx.plan import BARE
from tests.interop.oracle import MAX_TOKENS, Family, Oracle, assert_close, write_backbone

FAMILIES: list[Family] = ["bert", "roberta", "xlm-roberta"]


@pytest.mark.parametrize("served", [True, False], ids=["served", "trained"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_packed_rows_of_random_lengths_equal_transformers(name: Family, served: bool, tmp_path: Path) -> None:
    folder = write_backbone(tmp_path, name)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    loaded = load_backbone(folder)
    if served:
        prepack(loaded.backbone, torch.float32)
    generator = torch.Generator().manual_seed(3)
    lengths = [1, MAX_TOKENS, *torch.randint(2, MAX_TOKENS, (14,), generator=generator).tolist()]
    rows = [torch.randint(5, 120, (length,), generator=generator).tolist() for length in lengths]
    packed, plan = hidden_states(loaded.backbone, {}, rows, [BARE] * len(rows))
    assert plan.order == tuple(range(len(rows)))
    for row, ours in zip(rows, torch.split(packed, lengths), strict=True):
        ids = torch.tensor([row])
        output = theirs(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        assert_close(ours, output.hidden_states[-1][0])


@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new", "silu"])
def test_masked_lm_logits_without_adapters_equal_transformers(family: Family, activation: str, tmp_path: Path) -> None:
    """The masked-LM head's activation is the encoder's in BERT, and gelu whatever the encoder's in RoBERTa."""
    oracle = Oracle(write_backbone(tmp_path, family, activation=activation), family)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(oracle.folder).eval()
    rows = oracle.rows([1, 5, 30], seed=4)
    for row, ours in zip(rows, oracle.our_logits(rows, [BARE] * len(rows)), strict=True):
        with torch.no_grad():
            expected = theirs(torch.tensor([row])).logits[0]
        assert_close(ours, expected)
