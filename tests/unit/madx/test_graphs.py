"""Graphs of small batches: which batches share one, how they are filled up, when one is dropped.

A CPU records nothing, so what stands for a recording here runs the pass again on the tensors it was recorded with. What
a batch does not pass on through those shows as another batch's answer.
"""

import logging
from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F

from madx.attention import RowLayout
from madx.backbone import Backbone
from madx.bank import Bank
from madx.config import AdapterConfig, HeadConfig, language_config, task_config
from madx.forward import Row, infer
from madx.graphs import Graphs, Run
from madx.plan import IDENTITY, RowStack, Slot
from tests.support.network import CONFIG, make_network, make_rows
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
PAPER = task_config(reduction=2, form="paper")


@pytest.fixture(autouse=True)
def varlen_attention_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, from the boundaries alone, as the kernel that a CPU lacks."""

    def attend_varlen(qkv: torch.Tensor, layout: RowLayout) -> torch.Tensor:
        assert len(layout.cumulative) == layout.rows + 1
        assert not layout.buckets
        out = torch.full_like(qkv[:, 0], torch.nan)
        for start, stop in zip(layout.cumulative.tolist(), layout.cumulative[1:].tolist(), strict=False):
            assert 0 <= stop - start <= layout.longest
            q, k, v = qkv[start:stop].permute(1, 2, 0, 3)
            out[start:stop] = F.scaled_dot_product_attention(q, k, v).transpose(0, 1)
        return out

    for module in ("attention", "backbone"):
        monkeypatch.setattr(f"madx.{module}.has_varlen_kernel", lambda *_: True)
    monkeypatch.setattr("madx.attention._attend_varlen", attend_varlen)


class Rerun:
    """Counts recordings and replays."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        self.recorded += 1
        hidden = torch.full_like(run(), torch.nan)

        def replay() -> None:
            self.replayed += 1
            hidden.copy_(run())

        return replay, hidden


@pytest.fixture
def backbone() -> Backbone:
    return make_network(std=0.1)


@pytest.fixture
def bank() -> Bank:
    return Bank(CONFIG, stacked=True, grouped=True)


def put(bank: Bank, config: AdapterConfig, seed: int, head: HeadConfig | None = None) -> Slot:
    return bank.add(bank.stage(make_adapter(CONFIG, config, head=head, seed=seed)))


def assert_right(found: Sequence[torch.Tensor], backbone: Backbone, bank: Bank, rows: Sequence[Row]) -> None:
    for row, one in zip(rows, found, strict=True):
        alone = infer(backbone, bank, [row])[0]
        assert (one - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max().item())


def test_batches_of_one_shape_share_a_graph_whatever_is_in_them(backbone: Backbone, bank: Bank) -> None:
    languages = [put(bank, language_config(invertible=i < 3), seed=i) for i in range(4)]
    tasks = [put(bank, config, 20 + i, TAGS) for i, config in enumerate((task_config(reduction=4), PAPER))]
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=1)
    for seed in range(4):
        pairs = [(languages[(i + seed) % 4], tasks[i % 2]) for i in range(4)]
        stacks = [RowStack(language=one, task=other, leave_out=(2,) * (seed % 2)) for one, other in pairs]
        stacks.append(RowStack(task=tasks[seed % 2]))
        rows = make_rows([1 + (seed * 7 + 5 * i) % 20 for i in range(6)], stacks, seed=seed)
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert rerun.replayed == 4
    assert rerun.recorded == len(graphs) == 2  # up to 64 tokens and up to 128


def test_a_graph_recorded_with_a_full_batch_of_one_adapter_runs_others(backbone: Backbone, bank: Bank) -> None:
    """A full one needs no mask and nothing moved, others do."""
    one, other = (put(bank, task_config(reduction=4), seed, TAGS) for seed in range(2))
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=1)
    for rows in (make_rows([40, 24], [RowStack(task=one)]), make_rows([7, 9, 5], [RowStack(task=other), RowStack()])):
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert (rerun.recorded, rerun.replayed) == (1, 2)


def test_a_graph_is_recorded_once_its_shape_has_come_often(backbone: Backbone, bank: Bank) -> None:
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=3)
    rows = make_rows([9, 17], [RowStack()])
    for expected in (0, 0, 1, 2):
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
        assert rerun.replayed == expected
    assert rerun.recorded == 1


@pytest.mark.parametrize(
    ("lengths", "tokens"),
    [([64], 64), ([60, 5], 128), ([127, 127, 2], 256), ([128] * 2, 256), ([128] * 3, None), ([1] * 9, None)],
    ids=str,
)
def test_a_batch_is_filled_up_to_the_next_number_of_tokens(
    backbone: Backbone, bank: Bank, lengths: list[int], tokens: int | None
) -> None:
    graphs = Graphs(backbone, bank, capture=Rerun(), after=1, token_buckets=(64, 128, 256))
    rows = make_rows(lengths, [RowStack()])
    assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    hidden, plan = graphs.hidden_states(backbone, bank, [row.input_ids for row in rows], [RowStack()] * len(rows))
    assert len(graphs) == (tokens is not None)
    assert len(hidden) == plan.num_tokens == (tokens or sum(lengths))


def test_a_graph_of_a_slab_that_has_grown_is_dropped(backbone: Backbone, bank: Bank) -> None:
    tasks = [put(bank, task_config(reduction=4), seed, TAGS) for seed in range(4)]
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=1)
    for _ in range(2):
        rows = make_rows([5, 9, 4], [RowStack(task=slot) for slot in tasks[-3:]])
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
        assert len(graphs) == 1
        tasks.append(put(bank, task_config(reduction=4), len(tasks), TAGS))
    assert rerun.recorded == 2


def test_a_graph_runs_what_has_come_to_a_place_since(backbone: Backbone, bank: Bank) -> None:
    slot = put(bank, task_config(reduction=4), 1, TAGS)
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=1)
    rows = make_rows([5, 9], [RowStack(task=slot)])
    before = infer(backbone, bank, rows, encode=graphs.hidden_states)
    bank.remove(slot)
    assert put(bank, task_config(reduction=4), 2, TAGS) == slot
    after = infer(backbone, bank, rows, encode=graphs.hidden_states)
    assert rerun.recorded == 1
    assert not torch.allclose(before[0], after[0])
    assert_right(after, backbone, bank, rows)


def test_there_are_never_more_graphs_than_may_be(backbone: Backbone, bank: Bank) -> None:
    task = put(bank, task_config(reduction=4), 1, TAGS)
    rerun = Rerun()
    graphs = Graphs(backbone, bank, capture=rerun, after=1, most=2)
    for _ in range(2):
        for lengths in ([5], [70], [100, 100]):
            rows = make_rows(lengths, [RowStack(task=task)])
            assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert rerun.recorded == len(graphs) == 2


def test_without_recordings_batches_run_all_the_same(
    backbone: Backbone, bank: Bank, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = Graphs(backbone, bank, capture=refuse, after=1)
    rows = make_rows([9, 17], [RowStack()])
    with caplog.at_level(logging.WARNING):
        for lengths in ([9, 17], [70], [9]):
            rows = make_rows(lengths, [RowStack(task=IDENTITY)])
            assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert [record.message for record in caplog.records] == [
        "no CUDA graphs from now on, small batches run slower: operation not permitted when stream is capturing"
    ]


def test_a_batch_that_cannot_be_grouped_runs_without_a_graph(backbone: Backbone, bank: Bank) -> None:
    odd = put(bank, task_config(reduction=5), 1, TAGS)
    graphs = Graphs(backbone, bank, capture=Rerun(), after=1)
    rows = make_rows([9, 17], [RowStack(task=odd)])
    assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert len(graphs) == 0
