"""The bank: slots that are kept and reused, in slabs and prepacked, and copies of its own."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from madx.bank import Bank
from madx.bottleneck import Bottleneck
from madx.config import AdapterConfig, HeadConfig, language_config, task_config
from madx.plan import IDENTITY, Slot
from madx.precision import FLOAT16
from tests.support.network import CONFIG
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))


def put(bank: Bank, config: AdapterConfig, seed: int) -> Slot:
    head = None if config.invertible else TAGS
    return bank.add(bank.stage(make_adapter(CONFIG, config, head=head, seed=seed)))


def acting(bank: Bank, slot: Slot) -> torch.Tensor:
    """What the adapter's first bottleneck makes of fixed rows."""
    bottleneck = bank[slot].at(0, "output")
    assert isinstance(bottleneck, Bottleneck)
    rows: torch.Tensor = bottleneck(torch.linspace(-1, 1, 3 * CONFIG.hidden_size, device=bank.device).view(3, -1))
    return rows


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "prepacked"])
def test_slots_are_kept_through_growth_removal_and_reuse(device: torch.device, stacked: bool) -> None:
    bank = Bank(CONFIG, device=device, stacked=stacked)
    adapters = [make_adapter(CONFIG, language_config(), seed=i) for i in range(9)]
    slots = [bank.add(bank.stage(adapter)) for adapter in adapters]
    assert IDENTITY not in slots
    assert len(set(slots)) == 9
    before = [acting(bank, slot) for slot in slots]
    for adapter, found in zip(adapters, before, strict=True):
        bottleneck = adapter.at(0, "output")
        assert bottleneck is not None
        expected = bottleneck(torch.linspace(-1, 1, 3 * CONFIG.hidden_size).view(3, -1))
        assert torch.allclose(found.cpu(), expected, atol=1e-6)
    size = bank.size_bytes
    bank.remove(slots[4])
    assert bank.size_bytes == size * 8 // 9
    with pytest.raises(KeyError):
        bank[slots[4]]
    reused = bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=99)))
    assert reused == slots[4]
    assert not torch.equal(acting(bank, reused), before[4])
    others = [index for index in range(9) if index != 4]
    assert all(torch.equal(acting(bank, slots[index]), before[index]) for index in others)


def test_a_slab_reuses_places_and_holds_one_configuration(device: torch.device) -> None:
    bank = Bank(CONFIG, device=device, stacked=True)
    slots = [put(bank, language_config(), seed) for seed in range(5)]
    task = put(bank, task_config(reduction=4), 9)
    assert bank.slabs is not None
    capacity_bytes, generation = bank.slabs.capacity_bytes, bank.slabs.generation
    bank.remove(slots[2])
    again = put(bank, language_config(), 7)
    assert (bank.slabs.capacity_bytes, bank.slabs.generation) == (capacity_bytes, generation)
    places = {bank.slabs.place_of(slot)[1] for slot in (*slots[:2], *slots[3:], again)}
    assert places == {0, 1, 2, 3, 4}
    slab, place = bank.slabs.place_of(task)
    assert (slab.config, place) == (task_config(reduction=4), 0)


def test_slabs_hold_no_more_than_has_been_counted(device: torch.device) -> None:
    """Under any limit, that is: whatever comes, goes, and of how many configurations it is."""
    bank = Bank(CONFIG, device=device, stacked=True)
    assert bank.slabs is not None
    choose = random.Random(4)
    configs = [language_config(), *[AdapterConfig(reduction=2 + reduction / 4) for reduction in range(30)]]
    there: dict[Slot, torch.Tensor] = {}
    most_bytes = 0
    for step in range(400):
        while len(there) > 8 or (there and choose.random() < 0.45):
            slot = choose.choice(sorted(there))
            del there[slot]
            bank.remove(slot)
        slot = put(bank, configs[0] if step % 3 else choose.choice(configs), step)
        there[slot] = acting(bank, slot)
        most_bytes = max(most_bytes, bank.size_bytes)
        assert bank.slabs.capacity_bytes <= most_bytes
    assert len(list(bank.slabs)) < 12
    for slot, before in there.items():
        assert torch.equal(acting(bank, slot), before)


def test_what_has_left_is_given_back_before_others_take_more(device: torch.device) -> None:
    bank = Bank(CONFIG, device=device, stacked=True)
    slots = [put(bank, language_config(), seed) for seed in range(9)]
    before = acting(bank, slots[8])
    assert bank.slabs is not None
    for slot in slots[:8]:
        bank.remove(slot)
    put(bank, task_config(), 20)
    assert bank.slabs.capacity_bytes <= bank.size_bytes
    assert torch.equal(acting(bank, slots[8]), before)
    assert bank.slabs.place_of(slots[8])[1] == 0


@pytest.mark.parametrize("sound", [0, 1, 7, 11])
def test_a_device_that_runs_out_of_memory_leaves_a_slab_as_it_was(
    device: torch.device, sound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank(CONFIG, device=device, stacked=True)
    slots = [put(bank, language_config(), seed) for seed in range(3)]
    before = [acting(bank, slot) for slot in slots]
    staged = bank.stage(make_adapter(CONFIG, language_config(), seed=3))
    assert bank.slabs is not None
    generation = bank.slabs.generation
    taken, new_zeros = 0, torch.Tensor.new_zeros

    def scarce(tensor: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        nonlocal taken
        taken += 1
        if taken > sound:
            raise torch.OutOfMemoryError("out of memory")
        return new_zeros(tensor, size)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "new_zeros", scarce)
        with pytest.raises(torch.OutOfMemoryError):
            bank.add(staged)
    assert (len(bank), taken) == (3, sound + 1)
    assert bank.slabs.generation > generation  # a part has moved
    (slab,) = bank.slabs
    assert {len(stacked.up) for stacked in slab.bottlenecks.values()} == {slab.capacity} == {3}
    reused = bank.add(staged)
    for slot, expected in zip(slots, before, strict=True):
        assert torch.equal(acting(bank, slot), expected)
    slab, place = bank.slabs.place_of(reused)
    stacked = slab.bottlenecks["layers.0.output"]
    assert (slab.capacity, len(stacked.up)) == (6, 6)
    bottleneck = bank[reused].at(0, "output")
    assert isinstance(bottleneck, Bottleneck)
    assert stacked.down[place].data_ptr() == bottleneck.down.weight.data_ptr()


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "prepacked"])
def test_an_adapter_that_the_bank_cannot_take_leaves_it_as_it_was(device: torch.device, stacked: bool) -> None:
    bank = Bank(CONFIG, device=device, stacked=stacked)
    foreign = make_adapter(replace(CONFIG, hidden_size=16), language_config(), seed=1)
    with pytest.raises(RuntimeError):
        bank.stage(foreign)
    assert (len(bank), bank.size_bytes) == (0, 0)
    assert bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=2))) == Slot(1)


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "prepacked"])
def test_the_bank_owns_its_copy(device: torch.device, stacked: bool) -> None:
    adapter = make_adapter(CONFIG, language_config(), seed=1)
    bank = Bank(CONFIG, device=device, stacked=stacked)
    slot = bank.add(bank.stage(adapter))
    before = acting(bank, slot)
    for tensor in adapter.state_dict().values():
        tensor.zero_()
    assert torch.equal(acting(bank, slot), before)


def test_an_adapter_that_is_given_away_is_not_copied() -> None:
    """Where it lies on the device, in its precision; else it is."""
    adapter = make_adapter(CONFIG, language_config(), seed=1)
    addresses = {name: tensor.data_ptr() for name, tensor in adapter.state_dict().items()}
    given = Bank(CONFIG, stacked=True).stage(adapter, given=True).adapter.state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        Bank(replace(CONFIG, hidden_size=CONFIG.hidden_size * 2)).stage(adapter, given=True)
    copied = Bank(CONFIG, stacked=True, precision=FLOAT16).stage(adapter, given=True).adapter.state_dict()
    assert {name: tensor.data_ptr() for name, tensor in given.items()} == addresses
    assert not {tensor.data_ptr() for tensor in copied.values()} & set(addresses.values())
