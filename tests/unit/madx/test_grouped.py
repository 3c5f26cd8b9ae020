"""Adapters in slabs by grouped products against the same adapters segment by segment."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from madx.backbone import Backbone
from madx.bank import Bank
from madx.bottleneck import Bottleneck
from madx.config import AdapterConfig, HeadConfig, InvertibleConfig, language_config, task_config
from madx.forward import Row, infer
from madx.grouped import has_grouped_kernel
from madx.packing import Extent, draft_batch, open_batch, send
from madx.plan import IDENTITY, Plan, RowStack, Slot, plan_rows
from madx.precision import BFLOAT16, FLOAT32, Precision
from madx.slabs import PLACES
from madx.stack import Adapters
from tests.support.network import CONFIG, make_network, make_rows
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))
LANGUAGES = (
    language_config(),
    language_config(),
    language_config(invertible=False, leave_out=(1,)),
    AdapterConfig(reduction=4, original_ln_before=False, invertible=InvertibleConfig(non_linearity="tanh")),
    AdapterConfig(placement="houlsby", non_linearity="gelu"),
)
TASKS = (
    task_config(reduction=4),
    task_config(reduction=4),
    task_config(reduction=2, form="paper"),
    AdapterConfig(placement="houlsby", reduction=4, scaling=0.5, leave_out=(0,)),
    AdapterConfig(reduction=4, original_ln_before=False, form="paper"),
    AdapterConfig(reduction=5, non_linearity="silu"),  # of a size that a grouped product does not take
)
TOLERANCE = {FLOAT32: 1e-5, BFLOAT16: 6e-2}

Filled = tuple[Bank, list[Slot], list[Slot]]
Stack = tuple[int, int, tuple[int, ...]]
STACKS = st.tuples(
    st.integers(0, len(LANGUAGES)), st.integers(0, len(TASKS)), st.sampled_from([(), (), (2,), (0, 1), (3, 40)])
)


def filled(device: torch.device, *, grouped: bool, precision: Precision = FLOAT32) -> Filled:
    """A bank with one adapter of each configuration, its slots for languages and for tasks."""
    bank = Bank(CONFIG, device=device, precision=precision, stacked=True, grouped=grouped)

    def add(configs: Sequence[AdapterConfig], head: HeadConfig | None, seed: int) -> list[Slot]:
        return [
            bank.add(bank.stage(make_adapter(CONFIG, config, head=head, seed=seed + index)))
            for index, config in enumerate(configs)
        ]

    return bank, add(LANGUAGES, None, 0), add(TASKS, TAGS, 20)


def rows_of(lengths: Sequence[int], stacks: Sequence[Stack], languages: list[Slot], tasks: list[Slot]) -> list[Row]:
    """Stacks name a language and a task by number, the one after the last being none."""
    return make_rows(
        list(lengths),
        [
            RowStack(language=[*languages, IDENTITY][one], task=[*tasks, IDENTITY][other], leave_out=left)
            for one, other, left in stacks
        ],
    )


def mixed() -> tuple[list[int], list[Stack]]:
    stacks: list[Stack] = [(i % 6, (i // 2) % 7, (2,) if i % 5 == 0 else ()) for i in range(40)]
    return [1 + (7 * i) % 23 for i in range(40)], stacks


def assert_close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.isfinite(one).all()
        assert (one - other).abs().max() <= tolerance * max(1.0, other.abs().max().item())


@pytest.fixture(autouse=True)
def unwritten_memory_is_not_a_number() -> Iterator[None]:
    """So that a token whose result no product has written, and that is read all the same, shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def backbone(device: torch.device) -> Backbone:
    return make_network(std=0.1).to(device)


@pytest.fixture(scope="module")
def by_group(device: torch.device) -> Filled:
    return filled(device, grouped=True)


@pytest.fixture(scope="module")
def by_segment(device: torch.device) -> Filled:
    return filled(device, grouped=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(st.integers(1, 12), STACKS), min_size=1, max_size=12))
def test_grouped_products_are_the_segments_one_by_one(
    backbone: Backbone, by_group: Filled, by_segment: Filled, batch: list[tuple[int, Stack]]
) -> None:
    lengths, stacks = [length for length, _ in batch], [stack for _, stack in batch]
    bank, *slots = by_segment
    expected = infer(backbone, bank, rows_of(lengths, stacks, *slots))
    bank, *slots = by_group
    rows = rows_of(lengths, stacks, *slots)
    assert_close(infer(backbone, bank, rows), expected, TOLERANCE[FLOAT32])
    assert_close(infer(backbone, bank, rows, encode=encode_fixed), expected, TOLERANCE[FLOAT32])


def encode_fixed(
    backbone: Backbone, adapters: Adapters, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]
) -> tuple[torch.Tensor, Plan]:
    """As a batch of the shape that a graph runs."""
    assert isinstance(adapters, Bank)
    assert adapters.grouped_slabs is not None
    plan = plan_rows([len(row) for row in rows], stacks, rank=adapters.grouped_slabs.rank)
    extent = Extent(rows=len(rows) + 3, longest=64)
    draft = draft_batch(rows, plan, backbone, adapters.grouped_slabs, extent=extent)
    return backbone(open_batch(draft, send(draft.flat, backbone.device), backbone), adapters), plan


def test_halves_stay_near_float32(backbone: Backbone, by_segment: Filled, device: torch.device) -> None:
    exact, *slots = by_segment
    expected = infer(backbone, exact, rows_of(*mixed(), *slots))
    halves, *slots = filled(device, grouped=True, precision=BFLOAT16)
    in_halves = make_network(std=0.1).to(device, torch.bfloat16)
    rows = rows_of(*mixed(), *slots)
    assert_close(infer(in_halves, halves, rows), expected, TOLERANCE[BFLOAT16])
    assert_close(infer(in_halves, halves, rows, encode=encode_fixed), expected, TOLERANCE[BFLOAT16])


def test_a_bank_groups_where_there_is_a_kernel_and_says_so() -> None:
    assert not has_grouped_kernel(torch.device("cpu"), BFLOAT16)
    assert Bank(CONFIG, precision=BFLOAT16, stacked=True).grouped_slabs is None
    assert Bank(CONFIG, precision=BFLOAT16, stacked=True, grouped=True).grouped_slabs is not None


def test_a_backbone_of_a_width_that_grouped_products_cannot_take_goes_by_segments(device: torch.device) -> None:
    """Halves of 20 are no multiple of 8, so an invertible adapter's would not be."""
    config = replace(CONFIG, hidden_size=40, num_heads=5)
    backbone = make_network(config, std=0.1).to(device)
    bank = Bank(config, device=device, stacked=True, grouped=True)
    assert bank.grouped_slabs is None
    task = bank.add(bank.stage(make_adapter(config, task_config(reduction=4), head=TAGS, seed=50)))
    rows = make_rows([3, 4], [RowStack(task=task), RowStack()])
    alone = [infer(backbone, bank, [row])[0] for row in rows]
    assert_close(infer(backbone, bank, rows), alone, TOLERANCE[FLOAT32])


def test_a_bottleneck_of_any_size_is_rounded_up_with_zeros() -> None:
    bank = Bank(CONFIG, stacked=True, grouped=True)
    adapter = make_adapter(CONFIG, task_config(reduction=5), head=TAGS, seed=50)
    slot = bank.add(bank.stage(adapter))
    assert bank.slabs is not None
    slab, place = bank.slabs.place_of(slot)
    stacked = slab.bottlenecks["layers.2.output"]
    assert (stacked.down.shape[2], stacked.up.shape[1]) == (8, 8)
    down = adapter.state_dict()["layers.2.output.down.weight"]
    assert down.shape == (6, 32)
    assert torch.equal(stacked.down[place, :, :6].T, down)
    assert stacked.down[place, :, 6:].count_nonzero() == stacked.up[place, 6:].count_nonzero() == 0
    bottleneck = bank[slot].at(2, "output")
    assert isinstance(bottleneck, Bottleneck)
    assert torch.equal(bottleneck.down.weight, down)
    assert bottleneck.down.weight.data_ptr() == stacked.down[place].data_ptr()


def test_products_read_the_slab_itself(device: torch.device) -> None:
    """However often it has grown: weights are copied when an adapter comes, and never for a batch."""
    bank, languages, _ = filled(device, grouped=True)
    for seed in range(6):
        bank.add(bank.stage(make_adapter(CONFIG, LANGUAGES[0], seed=seed)))
    assert bank.slabs is not None
    slab, place = bank.slabs.place_of(languages[1])
    assert (place, slab.capacity) == (1, 10)
    stacked = slab.bottlenecks["layers.2.output"]
    assert stacked.up.data_ptr() == slab.tensors["layers.2.output.up.weight"].data_ptr()
    bottleneck = bank[languages[1]].at(2, "output")
    assert isinstance(bottleneck, Bottleneck)
    assert stacked.down[1].data_ptr() == bottleneck.down.weight.data_ptr()


def test_more_adapters_than_a_product_has_groups_take_a_second_slab() -> None:
    config = replace(CONFIG, num_layers=1)
    bank = Bank(config, stacked=True, grouped=True)
    first = make_adapter(config, TASKS[0], head=TAGS, seed=1)
    slots = [bank.add(bank.stage(first)) for _ in range(PLACES)]
    slots.append(bank.add(bank.stage(make_adapter(config, TASKS[0], head=TAGS, seed=2))))
    assert len(set(slots)) == PLACES + 1
    assert bank.slabs is not None
    assert [slab.capacity for slab in bank.slabs] == [PLACES, 1]
    backbone = make_network(config, std=0.1)
    rows = make_rows([5, 6, 7], [RowStack(task=slot) for slot in (slots[-1], slots[0], slots[-2])])
    assert_close(infer(backbone, bank, rows), [infer(backbone, bank, [row])[0] for row in rows], TOLERANCE[FLOAT32])
    bank.remove(slots[7])
    assert bank.add(bank.stage(first)) == slots[7]


def test_adapters_that_have_moved_together_answer_as_before(backbone: Backbone, device: torch.device) -> None:
    """Slots stay while places do not, so that slots and places are no longer in one order."""
    bank, languages, tasks = filled(device, grouped=True)
    languages += [bank.add(bank.stage(make_adapter(CONFIG, LANGUAGES[0], seed=60 + i))) for i in range(8)]
    assert bank.slabs is not None
    kept = [languages[1], *languages[-2:]]
    stacks = [RowStack(language=one, task=other) for one in (*kept, IDENTITY) for other in (tasks[0], tasks[5])]
    rows = make_rows([5, 7, 3, 9, 4, 6, 8, 2], stacks)
    before = infer(backbone, bank, rows)
    for slot in (languages[0], *languages[5:-2]):
        bank.remove(slot)
    bank.add(bank.stage(make_adapter(CONFIG, AdapterConfig(reduction=8), seed=70)))  # takes memory, so others give back
    assert sorted(kept, key=bank.slabs.rank) != sorted(kept)
    assert {bank.slabs.place_of(slot)[1] for slot in kept} == {0, 1, 2}
    assert_close(infer(backbone, bank, rows), before, TOLERANCE[FLOAT32])
    assert_close(infer(backbone, bank, rows, encode=encode_fixed), before, TOLERANCE[FLOAT32])
