"""Stacks of language and task adapters against `adapters`, row by row."""

from typing import Any

import pytest
from adapters import DoubleSeqBnConfig, SeqBnConfig, SeqBnInvConfig

from madx.config import AdapterConfig, InvertibleConfig
from madx.plan import BARE, RowStack
from tests.interop.oracle import Oracle, Pair, assert_close, assert_differs


def language(oracle: Oracle, *, invertible: bool = True, leave_out: tuple[int, ...] = ()) -> Pair:
    theirs = SeqBnInvConfig if invertible else SeqBnConfig
    config = AdapterConfig(reduction=2.0, leave_out=leave_out, invertible=InvertibleConfig() if invertible else None)
    return oracle.add(config, theirs(reduction_factor=2, leave_out=list(leave_out)))


def task(oracle: Oracle, *, leave_out: tuple[int, ...] = ()) -> Pair:
    config = AdapterConfig(reduction=4.0, leave_out=leave_out)
    return oracle.add(config, SeqBnConfig(reduction_factor=4, leave_out=list(leave_out)))


@pytest.mark.parametrize("invertible", [False, True])
def test_language_adapter_alone(oracle: Oracle, invertible: bool) -> None:
    pair = language(oracle, invertible=invertible)
    oracle.compare_hidden((pair.name,), RowStack(language=pair.slot))
    row = oracle.rows([20], seed=0)
    assert_differs(oracle.our_hidden(row, [BARE])[0], oracle.their_hidden(row[0], (pair.name,)))


def test_task_adapter_alone(oracle: Oracle) -> None:
    pair = task(oracle)
    oracle.compare_hidden((pair.name,), RowStack(task=pair.slot))


@pytest.mark.parametrize("invertible", [False, True])
def test_language_under_task(oracle: Oracle, invertible: bool) -> None:
    below, above = language(oracle, invertible=invertible), task(oracle)
    oracle.compare_hidden((below.name, above.name), RowStack(language=below.slot, task=above.slot))


@pytest.mark.parametrize(
    ("language_without", "task_without"), [((1,), ()), ((), (2,)), ((2,), (2,)), ((0, 1), (1, 2)), ((0, 1, 2), ())]
)
def test_adapters_made_without_some_layers(
    oracle: Oracle, language_without: tuple[int, ...], task_without: tuple[int, ...]
) -> None:
    below, above = language(oracle, leave_out=language_without), task(oracle, leave_out=task_without)
    oracle.compare_hidden((below.name, above.name), RowStack(language=below.slot, task=above.slot))


@pytest.mark.parametrize("without", [(2,), (0, 2)])
def test_language_layers_left_out_by_the_request(oracle: Oracle, without: tuple[int, ...]) -> None:
    below, above = language(oracle), task(oracle, leave_out=(2,))
    reduced = oracle.without_layers(below, without)
    oracle.compare_hidden((reduced,), RowStack(language=below.slot, leave_out=without))
    oracle.compare_hidden((reduced, above.name), RowStack(language=below.slot, task=above.slot, leave_out=without))
    row = oracle.rows([20], seed=0)
    full = RowStack(language=below.slot, task=above.slot)
    assert_differs(oracle.our_hidden(row, [full])[0], oracle.their_hidden(row[0], (reduced, above.name)))


@pytest.mark.parametrize("theirs", ["relu", "gelu", "gelu_new", "swish", "silu", "tanh"])
def test_non_linearities(oracle: Oracle, theirs: str) -> None:
    ours: Any = "silu" if theirs == "swish" else theirs
    config = AdapterConfig(reduction=2.0, non_linearity=ours, invertible=InvertibleConfig(non_linearity=ours))
    pair = oracle.add(config, SeqBnInvConfig(reduction_factor=2, non_linearity=theirs))
    oracle.compare_hidden((pair.name,), RowStack(language=pair.slot))


@pytest.mark.parametrize(("reduction", "inner"), [(1, 1), (3, 5), (16, 2), (1.5, 2), (0.5, 0.5)])
def test_reductions(oracle: Oracle, reduction: float, inner: float) -> None:
    config = AdapterConfig(reduction=reduction, invertible=InvertibleConfig(reduction=inner))
    pair = oracle.add(config, SeqBnInvConfig(reduction_factor=reduction, inv_adapter_reduction_factor=inner))
    oracle.compare_hidden((pair.name,), RowStack(language=pair.slot))


def test_scaling(oracle: Oracle) -> None:
    pair = oracle.add(AdapterConfig(scaling=2.5), SeqBnConfig(reduction_factor=2, scaling=2.5))
    oracle.compare_hidden((pair.name,), RowStack(language=pair.slot))


def test_bottleneck_that_reads_before_the_layer_norm(oracle: Oracle) -> None:
    theirs = SeqBnConfig(reduction_factor=2, original_ln_before=False)
    below = oracle.add(AdapterConfig(original_ln_before=False), theirs)
    above = task(oracle)
    oracle.compare_hidden((below.name,), RowStack(language=below.slot))
    oracle.compare_hidden((below.name, above.name), RowStack(language=below.slot, task=above.slot))


@pytest.mark.parametrize("leave_out", [(), (1,)])
def test_houlsby_language_under_pfeiffer_task(oracle: Oracle, leave_out: tuple[int, ...]) -> None:
    config = AdapterConfig(
        placement="houlsby", reduction=4.0, non_linearity="silu", original_ln_before=False, leave_out=leave_out
    )
    below = oracle.add(config, DoubleSeqBnConfig(reduction_factor=4, leave_out=list(leave_out)))
    above = task(oracle)
    oracle.compare_hidden((below.name,), RowStack(language=below.slot))
    oracle.compare_hidden((below.name, above.name), RowStack(language=below.slot, task=above.slot))


def test_one_batch_of_different_stacks_keeps_the_order_of_rows(oracle: Oracle) -> None:
    first, second, above = language(oracle), language(oracle, invertible=False), task(oracle)
    rows = oracle.rows([9, 3, 14, 1], seed=8)
    stacks = [
        RowStack(language=second.slot, task=above.slot),
        BARE,
        RowStack(language=first.slot),
        RowStack(language=first.slot, task=above.slot),
    ]
    names = [(second.name, above.name), (), (first.name,), (first.name, above.name)]
    for row, stack, ours in zip(rows, names, oracle.our_hidden(rows, stacks), strict=True):
        assert_close(ours, oracle.their_hidden(row, stack))
