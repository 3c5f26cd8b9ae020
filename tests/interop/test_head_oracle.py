"""Tagging and masked-LM heads, and a large mixed batch, against `adapters`, row by row.

The masked-LM head is the library's flexible one: its static heads leave the inverse out.
"""

import pytest
import torch
from adapters import SeqBnConfig, SeqBnInvConfig

from madx.config import AdapterConfig, HeadConfig, InvertibleConfig, language_config
from madx.plan import BARE, RowStack
from tests.interop.oracle import Oracle, Pair, Stacked, assert_close, assert_differs

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BACKBONE_HEAD = "default"


def language(oracle: Oracle, *, invertible: bool = True, head: HeadConfig | None = None) -> Pair:
    theirs = SeqBnInvConfig if invertible else SeqBnConfig
    return oracle.add(language_config(invertible=invertible), theirs(reduction_factor=2), head=head)


def tagger(oracle: Oracle, *, labels: int = 5, layers: int = 1, leave_out: tuple[int, ...] = ()) -> Pair:
    head = HeadConfig(type="tagging", labels=LABELS[:labels], layers=layers)
    config = AdapterConfig(reduction=8.0, leave_out=leave_out)
    return oracle.add(config, SeqBnConfig(reduction_factor=8, leave_out=list(leave_out)), head=head)


@pytest.mark.parametrize("layers", [1, 2])
def test_tagging_head(oracle: Oracle, layers: int) -> None:
    below, above = language(oracle), tagger(oracle, layers=layers)
    rows = oracle.rows([1, 12, 40], seed=1)
    stack = RowStack(language=below.slot, task=above.slot)
    for row, ours in zip(rows, oracle.our_logits(rows, [stack] * 3), strict=True):
        assert_close(ours, oracle.their_logits(row, (below.name, above.name), above.name))


@pytest.mark.parametrize("invertible", [False, True])
def test_masked_lm_through_the_inverse(oracle: Oracle, invertible: bool) -> None:
    pair = language(oracle, invertible=invertible)
    rows = oracle.rows([1, 12, 40], seed=2)
    for row, ours in zip(rows, oracle.our_logits(rows, [RowStack(language=pair.slot)] * 3), strict=True):
        assert_close(ours, oracle.their_logits(row, (pair.name,), BACKBONE_HEAD))


def test_the_inverse_matters_to_masked_lm(oracle: Oracle) -> None:
    """What the library's static heads compute, the same formula without the inverse, is far off."""
    pair = language(oracle)
    (row,) = oracle.rows([12], seed=2)
    theirs = oracle.their_logits(row, (pair.name,), BACKBONE_HEAD)
    head = oracle.loaded.backbone.masked_lm
    assert head is not None
    with torch.no_grad():
        hidden = oracle.our_hidden([row], [RowStack(language=pair.slot)])[0].clone()
        assert_differs(head(hidden, oracle.loaded.backbone.word_embedding, None), theirs)
        assert_close(head(hidden, oracle.loaded.backbone.word_embedding, oracle.bank[pair.slot].invertible), theirs)


def test_a_language_adapters_own_masked_lm_head(oracle: Oracle) -> None:
    pair = language(oracle, head=HeadConfig(type="masked_lm"))
    rows = oracle.rows([3, 21], seed=3)
    for row, ours in zip(rows, oracle.our_logits(rows, [RowStack(language=pair.slot)] * 2), strict=True):
        assert_close(ours, oracle.their_logits(row, (pair.name,), pair.name))
        assert_differs(ours, oracle.their_logits(row, (pair.name,), BACKBONE_HEAD))


@pytest.mark.parametrize("without", [(2,)])
def test_layers_left_out_by_the_request_keep_the_inverse(oracle: Oracle, without: tuple[int, ...]) -> None:
    pair = language(oracle)
    reduced = oracle.without_layers(pair, without)
    rows = oracle.rows([12], seed=5)
    stack = RowStack(language=pair.slot, leave_out=without)
    assert_close(oracle.our_logits(rows, [stack])[0], oracle.their_logits(rows[0], (reduced,), BACKBONE_HEAD))


def eight_languages(oracle: Oracle) -> list[Pair]:
    """Seven with and without an inverse, one in three with a non-linearity or size of its own."""
    odd = AdapterConfig(
        reduction=4.0, non_linearity="gelu", leave_out=(1,), invertible=InvertibleConfig(non_linearity="gelu")
    )
    theirs = SeqBnInvConfig(reduction_factor=4, non_linearity="gelu", leave_out=[1])
    return [*(language(oracle, invertible=index % 2 == 0) for index in range(7)), oracle.add(odd, theirs)]


def test_mixed_batch_of_64_rows(oracle: Oracle) -> None:
    """8 languages, 3 task adapters of different heads and layers, and rows without either, in one batch."""
    languages: list[Pair | None] = [None, *eight_languages(oracle)]
    tasks: list[Pair | None] = [
        None, tagger(oracle), tagger(oracle, labels=3, leave_out=(2,)), tagger(oracle, layers=2)
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(6)
    lengths = torch.randint(1, 97, (64,), generator=generator).tolist()
    rows = oracle.rows(lengths, seed=6)
    # Every language meets every task adapter within the first 36 rows, which are then shuffled.
    pairs = [
        (languages[index % 9], tasks[index // 9 % 4]) for index in torch.randperm(64, generator=generator).tolist()
    ]
    without = [(0,) if below is not None and index % 5 == 0 else () for index, (below, _) in enumerate(pairs)]
    stacks = [row_stack(below, above, out) for (below, above), out in zip(pairs, without, strict=True)]
    hidden, logits = oracle.our_hidden(rows, stacks), oracle.our_logits(rows, stacks)
    assert len({(stack.language, stack.task) for stack in stacks}) == 36
    for index, (below, above) in enumerate(pairs):
        names = their_stack(oracle, below, above, without[index])
        assert_close(hidden[index], oracle.their_hidden(rows[index], names))
        expected = oracle.their_logits(rows[index], names, above.name if above else BACKBONE_HEAD)
        if above is not None or below is not None:
            assert_close(logits[index], expected)
        assert torch.equal(logits[index].argmax(-1), expected.argmax(-1))


def row_stack(below: Pair | None, above: Pair | None, without: tuple[int, ...]) -> RowStack:
    return RowStack(
        language=below.slot if below else BARE.language, task=above.slot if above else BARE.task, leave_out=without
    )


def their_stack(oracle: Oracle, below: Pair | None, above: Pair | None, without: tuple[int, ...]) -> Stacked:
    names: list[str] = []
    if below is not None:
        names.append(oracle.without_layers(below, without) if without else below.name)
    return (*names, above.name) if above else tuple(names)
