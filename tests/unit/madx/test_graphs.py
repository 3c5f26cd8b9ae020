"""Graphs of small batches: which batches share one, how they are filled up, when one is dropped.

A CPU records nothing, so what stands for a recording there runs the pass again on the tensors it was recorded with.
What a batch does not pass on through those shows as another's answer. On CUDA graphs are recorded and replayed.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from madx.attention import RowLayout
from madx.backbone import Backbone
from madx.bank import Bank
from madx.config import AdapterConfig, HeadConfig, language_config, task_config
from madx.forward import Row, infer
from madx.graphs import Capture, CudaCapture, Graphs, Replay, Run
from madx.grouped import has_grouped_kernel
from madx.plan import IDENTITY, RowStack, Slot
from madx.precision import BFLOAT16, FLOAT32, Precision
from tests.support.network import CONFIG, make_network, make_rows
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
PAPER = task_config(reduction=2, form="paper")


@pytest.fixture(autouse=True)
def varlen_attention_on_the_cpu(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, from the boundaries alone, as the kernel that a CPU lacks."""
    if device.type == "cuda":
        return

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


def rerun(run: Run, *, is_first: bool) -> tuple[Replay, torch.Tensor]:
    """Stands for a recording."""
    hidden = torch.full_like(run(), torch.nan)
    return lambda: hidden.copy_(run()), hidden


class Recorder:
    """Counts recordings and replays; knows which recordings were said to be the first."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.firsts: list[bool] = []
        self.replayed = 0
        self.lacks_memory = False

    @property
    def recorded(self) -> int:
        return len(self.firsts)

    def __call__(self, run: Run, *, is_first: bool) -> tuple[Replay, torch.Tensor]:
        if self.lacks_memory:
            raise torch.OutOfMemoryError("out of memory")
        self.firsts.append(is_first)
        replay, hidden = self._capture(run, is_first=is_first)

        def replay_counted() -> None:
            self.replayed += 1
            replay()

        return replay_counted, hidden


@pytest.fixture
def recorder(device: torch.device) -> Recorder:
    return Recorder(CudaCapture(device) if device.type == "cuda" else rerun)


@pytest.fixture
def precision(device: torch.device) -> Precision:
    if device.type == "cuda" and not has_grouped_kernel(device, BFLOAT16):
        pytest.skip("this device has no grouped products, and so no graphs")
    return BFLOAT16 if device.type == "cuda" else FLOAT32


@pytest.fixture
def backbone(device: torch.device, precision: Precision) -> Backbone:
    return make_network(std=0.1).to(device, precision.activations)


@pytest.fixture
def bank(device: torch.device, precision: Precision) -> Bank:
    return Bank(CONFIG, device=device, precision=precision, stacked=True, grouped=True)


def put(bank: Bank, config: AdapterConfig, seed: int, head: HeadConfig | None = None) -> Slot:
    return bank.add(bank.stage(make_adapter(CONFIG, config, head=head, seed=seed)))


def assert_right(found: Sequence[torch.Tensor], backbone: Backbone, bank: Bank, rows: Sequence[Row]) -> None:
    for row, one in zip(rows, found, strict=True):
        alone = infer(backbone, bank, [row])[0]
        tolerance = 1e-5 if backbone.word_embedding.dtype == torch.float32 else 5e-2
        assert (one - alone).abs().max() <= tolerance * max(1.0, alone.abs().max().item())


def test_batches_of_one_shape_share_a_graph_whatever_is_in_them(
    backbone: Backbone, bank: Bank, recorder: Recorder
) -> None:
    languages = [put(bank, language_config(invertible=i < 3), seed=i) for i in range(4)]
    tasks = [put(bank, config, 20 + i, TAGS) for i, config in enumerate((task_config(reduction=4), PAPER))]
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    for seed in range(4):
        pairs = [(languages[(i + seed) % 4], tasks[i % 2]) for i in range(4)]
        stacks = [RowStack(language=one, task=other, leave_out=(2,) * (seed % 2)) for one, other in pairs]
        stacks.append(RowStack(task=tasks[seed % 2]))
        rows = make_rows([1 + (seed * 7 + 5 * i) % 20 for i in range(6)], stacks, seed=seed)
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert recorder.replayed == 4
    assert recorder.recorded == len(graphs) == 2  # up to 64 tokens and up to 128


def test_a_graph_recorded_with_a_full_batch_of_one_adapter_runs_others(
    backbone: Backbone, bank: Bank, recorder: Recorder
) -> None:
    """A full one needs no mask and nothing moved, others do."""
    one, other = (put(bank, task_config(reduction=4), seed, TAGS) for seed in range(2))
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    for rows in (make_rows([40, 24], [RowStack(task=one)]), make_rows([7, 9, 5], [RowStack(task=other), RowStack()])):
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert (recorder.recorded, recorder.replayed) == (1, 2)


def test_a_graph_is_recorded_once_its_shape_has_come_often(backbone: Backbone, bank: Bank, recorder: Recorder) -> None:
    graphs = Graphs(backbone, bank, capture=recorder, after=3)
    rows = make_rows([9, 17], [RowStack()])
    for expected in (0, 0, 1, 2):
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
        assert recorder.replayed == expected
    assert recorder.recorded == 1


@pytest.mark.parametrize(
    ("lengths", "tokens"),
    [([64], 64), ([60, 5], 128), ([127, 127, 2], 256), ([128] * 2, 256), ([128] * 3, None), ([1] * 9, None)],
    ids=str,
)
def test_a_batch_is_filled_up_to_the_next_number_of_tokens(
    backbone: Backbone, bank: Bank, recorder: Recorder, lengths: list[int], tokens: int | None
) -> None:
    graphs = Graphs(backbone, bank, capture=recorder, after=1, token_buckets=(64, 128, 256))
    rows = make_rows(lengths, [RowStack()])
    assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    hidden, plan = graphs.hidden_states(backbone, bank, [row.input_ids for row in rows], [RowStack()] * len(rows))
    assert len(graphs) == (tokens is not None)
    assert len(hidden) == plan.num_tokens == (tokens or sum(lengths))


def test_a_graph_of_a_slab_that_has_grown_is_dropped(
    backbone: Backbone, bank: Bank, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The only one: what the next is recorded into must not be what this one was recorded into."""
    tasks = [put(bank, task_config(reduction=4), seed, TAGS) for seed in range(3)]
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    for round_ in range(3):
        rows = make_rows([5, 9, 4], [RowStack(task=slot) for slot in tasks[-3:]])
        for _ in range(2):
            assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
        assert len(graphs) == 1
        assert (recorder.recorded, recorder.replayed) == (round_ + 1, 2 * round_ + 2)
        tasks += [put(bank, task_config(reduction=4), len(tasks) + i, TAGS) for i in range(len(tasks))]
    assert recorder.firsts == [True] * 3
    assert not caplog.records


def test_a_graph_of_a_slab_that_has_given_memory_back_is_dropped(
    backbone: Backbone, bank: Bank, recorder: Recorder
) -> None:
    slots = [put(bank, task_config(reduction=4), seed, TAGS) for seed in range(6)]
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    rows, bare = make_rows([5, 9], [RowStack(task=slots[5])]), make_rows([5, 9], [RowStack()])
    for one in (rows, bare):
        assert_right(infer(backbone, bank, one, encode=graphs.hidden_states), backbone, bank, one)
    for slot in slots[:5]:
        bank.remove(slot)
    assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert recorder.recorded == 2  # nothing has moved yet
    other = put(bank, PAPER, 9, TAGS)
    for one in (rows, bare, make_rows([5, 9], [RowStack(task=other)])):
        assert_right(infer(backbone, bank, one, encode=graphs.hidden_states), backbone, bank, one)
    assert recorder.firsts == [True, False, False, False]
    assert recorder.replayed == 6


def test_a_graph_runs_what_has_come_to_a_place_since(backbone: Backbone, bank: Bank, recorder: Recorder) -> None:
    slot = put(bank, task_config(reduction=4), 1, TAGS)
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    rows = make_rows([5, 9], [RowStack(task=slot)])
    before = infer(backbone, bank, rows, encode=graphs.hidden_states)
    bank.remove(slot)
    assert put(bank, task_config(reduction=4), 2, TAGS) == slot
    after = infer(backbone, bank, rows, encode=graphs.hidden_states)
    assert recorder.recorded == 1
    assert not torch.allclose(before[0], after[0])
    assert_right(after, backbone, bank, rows)


def test_the_least_recently_replayed_graph_gives_way_if_it_is_not_used(
    backbone: Backbone, bank: Bank, recorder: Recorder
) -> None:
    task = put(bank, task_config(reduction=4), 1, TAGS)
    graphs = Graphs(backbone, bank, capture=recorder, after=2, most=2)

    def run(*batches: list[int]) -> None:
        for lengths in batches:
            rows = make_rows(lengths, [RowStack(task=task)])
            assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
        assert len(graphs) <= 2

    short, middle, long = [5], [70], [100, 100]
    for _ in range(5):
        run(short, middle, long)
    assert (recorder.recorded, recorder.replayed) == (2, 8)  # two of three, which are in use all the time
    for _ in range(3):
        run(long, middle)
    assert recorder.recorded == 3
    run(middle, middle)
    assert (recorder.recorded, len(graphs)) == (3, 2)
    run(short, middle, short)
    assert (recorder.recorded, len(graphs)) == (4, 2)


def test_a_device_that_is_full_for_a_moment_keeps_the_graphs_it_has(
    backbone: Backbone, bank: Bank, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = Graphs(backbone, bank, capture=recorder, after=1)

    def run(lengths: list[int]) -> None:
        rows = make_rows(lengths, [RowStack()])
        assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)

    run([9])
    recorder.lacks_memory = True
    run([70])
    run([9])
    recorder.lacks_memory = False
    run([70])
    run([100, 100])
    assert (recorder.recorded, recorder.replayed) == (2, 3)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_where_recording_is_refused_there_are_no_graphs_any_more(
    backbone: Backbone, bank: Bank, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def capture(run: Run, *, is_first: bool) -> tuple[Replay, torch.Tensor]:
        if not is_first:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return recorder(run, is_first=is_first)

    graphs = Graphs(backbone, bank, capture=capture, after=1)
    with caplog.at_level(logging.WARNING):
        for lengths in ([9, 17], [70], [9], [100, 100]):
            rows = make_rows(lengths, [RowStack(task=IDENTITY)])
            assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert (recorder.recorded, recorder.replayed, len(graphs)) == (1, 1, 0)
    assert [record.message for record in caplog.records] == [
        "no CUDA graphs from now on, small batches run slower: operation not permitted when stream is capturing"
    ]


def test_a_backbone_of_a_width_that_cannot_be_grouped_runs_without_graphs(
    device: torch.device, precision: Precision, recorder: Recorder
) -> None:
    config = replace(CONFIG, hidden_size=40, num_heads=5)
    backbone = make_network(config, std=0.1).to(device, precision.activations)
    bank = Bank(config, device=device, precision=precision, stacked=True, grouped=True)
    task = bank.add(bank.stage(make_adapter(config, task_config(reduction=4), head=TAGS, seed=1)))
    graphs = Graphs(backbone, bank, capture=recorder, after=1)
    rows = make_rows([9, 17], [RowStack(task=task)])
    assert_right(infer(backbone, bank, rows, encode=graphs.hidden_states), backbone, bank, rows)
    assert len(graphs) == 0
