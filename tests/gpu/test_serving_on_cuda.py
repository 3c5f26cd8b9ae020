"""What only CUDA has: graphs that are recorded and replayed, and adapters that come while batches run."""

import threading
from collections.abc import Sequence

import pytest
import torch

from madx.adapter import Adapter
from madx.bank import Bank, Staged
from madx.config import HeadConfig, language_config, task_config
from madx.forward import Row, infer
from madx.graphs import CudaCapture, Graphs
from madx.grouped import has_grouped_kernel
from madx.loading import LoadedBackbone, load_backbone
from madx.plan import IDENTITY, RowStack, Slot
from madx.precision import BFLOAT16
from service.model import assemble
from tests.support.network import make_rows
from tests.support.tiny import make_adapter, make_backbone

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
TOLERANCE = 5e-2
ROUNDING = 64 * 512
"""Bytes: PyTorch gives memory out in blocks of 512, for each tensor."""


@pytest.fixture(scope="module")
def loaded(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> LoadedBackbone:
    if not has_grouped_kernel(device, BFLOAT16):
        pytest.skip("this device has no grouped products, and so no graphs")
    return load_backbone(make_backbone(tmp_path_factory.mktemp("backbone")), device=device, dtype=BFLOAT16.activations)


@pytest.fixture
def bank(loaded: LoadedBackbone, device: torch.device) -> Bank:
    bank = Bank(loaded.config, device=device, precision=BFLOAT16)
    assert bank.grouped_slabs is not None
    return bank


def made(loaded: LoadedBackbone, seed: int, *, is_task: bool) -> Adapter:
    if is_task:
        return make_adapter(loaded.config, task_config(reduction=4), head=TAGS, seed=seed)
    return make_adapter(loaded.config, language_config(invertible=seed % 2 == 0), seed=seed)


def rows_of(loaded: LoadedBackbone, lengths: list[int], stacks: list[RowStack], *, seed: int = 5) -> list[Row]:
    return make_rows(lengths, stacks, seed=seed, vocab_size=loaded.config.vocab_size)


def assert_close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= TOLERANCE * max(1.0, other.abs().max().item())


def stacks_of(languages: Sequence[Slot], tasks: Sequence[Slot], shift: int) -> list[RowStack]:
    stacks = [RowStack(language=languages[(i + shift) % len(languages)], task=tasks[i % len(tasks)]) for i in range(5)]
    return [*stacks, RowStack(task=tasks[0]), RowStack(language=languages[0], task=tasks[0], leave_out=(1,))]


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Who the graph of each replay was. The graph itself is not kept: what it holds must be able to go."""
    done: list[int] = []
    replay = torch.cuda.CUDAGraph.replay

    def replay_noted(graph: torch.cuda.CUDAGraph) -> None:
        done.append(id(graph))
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", replay_noted)
    return done


def test_a_replayed_graph_answers_as_a_forward_does(
    loaded: LoadedBackbone, bank: Bank, device: torch.device, replays: list[int]
) -> None:
    languages = [bank.add(bank.stage(made(loaded, seed, is_task=False))) for seed in range(3)]
    tasks = [bank.add(bank.stage(made(loaded, seed, is_task=True))) for seed in range(3)]
    graphs = Graphs(loaded.backbone, bank, capture=CudaCapture(device), after=1)
    batches: list[list[Row]] = []
    for seed in range(12):
        lengths = [1 + (seed * 7 + 5 * index) % min(20 + 10 * seed, 120) for index in range(7)]
        batches.append(rows_of(loaded, lengths, stacks_of(languages, tasks, seed), seed=seed))
    for turn in range(1, 3):
        found = [infer(loaded.backbone, bank, rows, encode=graphs.hidden_states) for rows in batches]
        for rows, answers in zip(batches, found, strict=True):
            assert_close(answers, infer(loaded.backbone, bank, rows))
        assert len(replays) == turn * len(batches)
    assert len(graphs) == len(set(replays)) > 1


def test_a_served_model_takes_graphs_and_its_slabs_may_grow(
    loaded: LoadedBackbone, replays: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Each growth ends the only graph there is; the next is recorded all the same."""
    model = assemble(loaded, BFLOAT16)
    assert model.bank.slabs is not None
    tasks: list[Slot] = []
    for seed in range(8):
        generation = model.bank.slabs.generation
        tasks.append(model.bank.add(model.bank.stage(made(loaded, seed, is_task=True))))
        has_grown, before = model.bank.slabs.generation != generation, len(replays)
        for _ in range(6):
            rows = rows_of(loaded, [9, 30, 12], [RowStack(task=task) for task in tasks[-3:]], seed=seed)
            assert_close(model.infer(rows), infer(loaded.backbone, model.bank, rows))
        assert len(replays) - before == (3 if has_grown else 6)
    assert not caplog.records
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_a_graph_is_recorded_while_adapters_are_staged(
    loaded: LoadedBackbone, bank: Bank, device: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a slab whose first place is empty, too."""
    first, task = (bank.add(bank.stage(made(loaded, seed, is_task=True))) for seed in range(2))
    bank.remove(first)
    adapter, ends, began = made(loaded, 3, is_task=False), threading.Event(), threading.Event()

    def load() -> None:
        while not ends.is_set():
            bank.stage(adapter)
            began.set()

    loader = threading.Thread(target=load)
    loader.start()
    try:
        assert began.wait(60)
        graphs = Graphs(loaded.backbone, bank, capture=CudaCapture(device), after=1)
        for lengths in ([9, 30, 12], [70], [100, 60], [120] * 3, [100] * 8):
            rows = rows_of(loaded, lengths, [RowStack(task=task)])
            assert_close(
                infer(loaded.backbone, bank, rows, encode=graphs.hidden_states), infer(loaded.backbone, bank, rows)
            )
    finally:
        ends.set()
        loader.join()
    assert len(graphs) == 5
    assert not caplog.records


def test_a_recording_that_fails_leaves_the_stream_and_the_next_recording_alone(
    loaded: LoadedBackbone, bank: Bank, device: torch.device
) -> None:
    capture, current = CudaCapture(device), torch.cuda.current_stream()
    runs = 0

    def fail() -> torch.Tensor:
        nonlocal runs
        runs += 1
        ones = torch.ones(3, device=device)
        if runs == 2:
            raise torch.OutOfMemoryError("out of memory")
        return ones

    with pytest.raises(RuntimeError):
        capture(fail, is_first=True)
    assert torch.cuda.current_stream() == current
    graphs = Graphs(loaded.backbone, bank, capture=capture, after=1)
    rows = rows_of(loaded, [9, 30, 12], [RowStack()])
    assert_close(infer(loaded.backbone, bank, rows, encode=graphs.hidden_states), infer(loaded.backbone, bank, rows))
    assert len(graphs) == 1


def test_the_hosts_copy_is_one_buffer_that_the_device_copies_from(loaded: LoadedBackbone, bank: Bank) -> None:
    adapter = made(loaded, 2, is_task=True)
    kept = bank.host_copy(adapter)
    tensors = list(kept.parameters())
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert all(tensor.is_pinned() and tensor.dtype == torch.bfloat16 for tensor in tensors)
    assert (
        bank.host_copy(kept).state_dict()["head.layers.0.weight"].data_ptr()
        == kept.state_dict()["head.layers.0.weight"].data_ptr()
    )
    slots = [bank.add(bank.stage(one)) for one in (adapter, kept)]
    rows = [_on(rows_of(loaded, [9, 30], [RowStack()]), slot) for slot in slots]
    assert_close(infer(loaded.backbone, bank, rows[1]), infer(loaded.backbone, bank, rows[0]))


def allocated_bytes() -> int:
    """What another stream has used is free after it, at the next allocation."""
    torch.cuda.synchronize()
    torch.empty(1, device="cuda")
    return torch.cuda.memory_allocated()


def test_memory_of_adapters_that_have_left_is_given_back(loaded: LoadedBackbone, bank: Bank) -> None:
    bank.stage(made(loaded, 0, is_task=False))
    before = allocated_bytes()
    slots = [bank.add(bank.stage(made(loaded, 2 * seed, is_task=False))) for seed in range(12)]
    held = allocated_bytes() - before
    assert held <= bank.size_bytes + ROUNDING
    for slot in slots[:-1]:
        bank.remove(slot)
    bank.add(bank.stage(made(loaded, 20, is_task=True)))
    assert allocated_bytes() - before <= bank.size_bytes + ROUNDING < held


def test_an_adapter_comes_while_a_batch_runs(loaded: LoadedBackbone, bank: Bank) -> None:
    adapter = made(loaded, 1, is_task=True)
    bank.stage(adapter)  # the first takes page-locked memory, which may wait for the device
    torch.cuda.synchronize()
    torch.cuda._sleep(4_000_000_000)  # about two seconds of the device's cycles, on the batches' stream
    done = torch.cuda.current_stream().record_event()
    staged = bank.stage(adapter)
    assert not done.query()
    slot = bank.add(staged)
    rows = rows_of(loaded, [9, 17], [RowStack(task=slot)])
    assert_close(infer(loaded.backbone, bank, rows), [infer(loaded.backbone, bank, [row])[0] for row in rows])


def test_adapters_come_and_go_under_batches(loaded: LoadedBackbone, bank: Bank) -> None:
    """Memory that one adapter leaves is filled with the next by another stream: never before it has been read."""
    reference = Bank(loaded.config, device=loaded.backbone.device, precision=BFLOAT16)
    adapters = [made(loaded, seed, is_task=True) for seed in range(4)]
    rows = rows_of(loaded, [9, 30, 12], [RowStack(language=IDENTITY)])
    expected = []
    for adapter in adapters:
        slot = reference.add(reference.stage(adapter))
        expected.append(infer(loaded.backbone, reference, _on(rows, slot)))
    staged: list[Staged | None] = [None] * 200

    def load() -> None:
        for index in range(len(staged)):
            staged[index] = bank.stage(adapters[index % 4])

    loader = threading.Thread(target=load)
    loader.start()
    for index in range(len(staged)):
        while (one := staged[index]) is None:
            assert loader.is_alive() or staged[index] is not None
        staged[index] = None
        slot = bank.add(one)
        del one
        assert_close(infer(loaded.backbone, bank, _on(rows, slot)), expected[index % 4])
        bank.remove(slot)
    loader.join()


def _on(rows: Sequence[Row], slot: Slot) -> list[Row]:
    return [Row(input_ids=row.input_ids, positions=row.positions, stack=RowStack(task=slot)) for row in rows]
