"""The bank: slots that are kept and reused, in slabs and packed, and copies of its own."""

from dataclasses import replace

import pytest
import torch

from madx.bank import Bank
from madx.bottleneck import Bottleneck
from madx.config import HeadConfig, language_config, task_config
from madx.plan import IDENTITY, Slot
from tests.support.network import CONFIG
from tests.support.tiny import make_adapter

TAGS = HeadConfig(type="tagging", labels=("O", "B-PER", "I-PER"))


def acting(bank: Bank, slot: Slot) -> torch.Tensor:
    """What the adapter's first bottleneck makes of fixed rows."""
    bottleneck = bank[slot].at(0, "output")
    assert isinstance(bottleneck, Bottleneck)
    rows: torch.Tensor = bottleneck(torch.linspace(-1, 1, 3 * CONFIG.hidden_size).view(3, -1))
    return rows


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "packed"])
def test_slots_are_kept_through_growth_removal_and_reuse(stacked: bool) -> None:
    bank = Bank(CONFIG, stacked=stacked)
    adapters = [make_adapter(CONFIG, language_config(), seed=i) for i in range(9)]
    slots = [bank.add(bank.stage(adapter)) for adapter in adapters]
    assert IDENTITY not in slots
    assert len(set(slots)) == 9
    before = [acting(bank, slot) for slot in slots]
    for adapter, found in zip(adapters, before, strict=True):
        bottleneck = adapter.at(0, "output")
        assert bottleneck is not None
        expected = bottleneck(torch.linspace(-1, 1, 3 * CONFIG.hidden_size).view(3, -1))
        assert torch.allclose(found, expected, atol=1e-6)
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


def test_a_slab_reuses_places_and_holds_one_configuration() -> None:
    bank = Bank(CONFIG, stacked=True)
    slots = [bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=i))) for i in range(5)]
    task = bank.add(bank.stage(make_adapter(CONFIG, task_config(reduction=4), head=TAGS, seed=9)))
    assert bank.slabs is not None
    capacity_bytes = bank.slabs.capacity_bytes
    bank.remove(slots[2])
    again = bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=7)))
    assert bank.slabs.capacity_bytes == capacity_bytes
    places = {bank.slabs.place_of(slot)[1] for slot in (*slots[:2], *slots[3:], again)}
    assert places == {0, 1, 2, 3, 4}
    slab, place = bank.slabs.place_of(task)
    assert (slab.config, place) == (task_config(reduction=4), 0)


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "packed"])
def test_an_adapter_that_the_bank_cannot_take_leaves_it_as_it_was(stacked: bool) -> None:
    bank = Bank(CONFIG, stacked=stacked)
    foreign = make_adapter(replace(CONFIG, hidden_size=16), language_config(), seed=1)
    with pytest.raises(RuntimeError):
        bank.stage(foreign)
    assert (len(bank), bank.size_bytes) == (0, 0)
    assert bank.add(bank.stage(make_adapter(CONFIG, language_config(), seed=2))) == Slot(1)


@pytest.mark.parametrize("stacked", [True, False], ids=["slabs", "packed"])
def test_the_bank_owns_its_copy(stacked: bool) -> None:
    adapter = make_adapter(CONFIG, language_config(), seed=1)
    bank = Bank(CONFIG, stacked=stacked)
    slot = bank.add(bank.stage(adapter))
    before = acting(bank, slot)
    for tensor in adapter.state_dict().values():
        tensor.zero_()
    assert torch.equal(acting(bank, slot), before)
