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


def test_a_replayed_graph_answers_as_a_forward_does(loaded: LoadedBackbone, bank: Bank, device: torch.device) -> None:
    languages = [bank.add(bank.stage(made(loaded, seed, is_task=False))) for seed in range(3)]
    tasks = [bank.add(bank.stage(made(loaded, seed, is_task=True))) for seed in range(3)]
    graphs = Graphs(loaded.backbone, bank, capture=CudaCapture(device), after=1)
    batches: list[list[Row]] = []
    for seed in range(12):
        lengths = [1 + (seed * 7 + 5 * index) % min(20 + 10 * seed, 120) for index in range(7)]
        batches.append(rows_of(loaded, lengths, stacks_of(languages, tasks, seed), seed=seed))
    for _ in range(2):
        found = [infer(loaded.backbone, bank, rows, encode=graphs.hidden_states) for rows in batches]
        for rows, answers in zip(batches, found, strict=True):
            assert_close(answers, infer(loaded.backbone, bank, rows))
    assert len(graphs) > 1


def test_a_served_model_takes_graphs_and_its_slabs_may_grow(loaded: LoadedBackbone) -> None:
    model = assemble(loaded, BFLOAT16)
    tasks: list[Slot] = []
    for seed in range(6):
        tasks.append(model.bank.add(model.bank.stage(made(loaded, seed, is_task=True))))
        for _ in range(6):
            rows = rows_of(loaded, [9, 30, 12], [RowStack(task=task) for task in tasks[-3:]], seed=seed)
            assert_close(model.infer(rows), infer(loaded.backbone, model.bank, rows))


def test_an_adapter_comes_while_a_batch_runs(loaded: LoadedBackbone, bank: Bank) -> None:
    adapter = made(loaded, 1, is_task=True)
    bank.stage(adapter)  # the first takes pinned memory, which may wait for the device
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
