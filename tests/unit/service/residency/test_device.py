"""Adapters on the device: none in use is evicted, no slot of a running batch is reused, and the limit holds."""

import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace

import pytest

from madx.manifest import Digest
from madx.plan import Slot
from registry.values import Version
from service.errors import AdapterLoadFailed, PinsFull
from service.metrics import Metrics
from service.residency.device import DeviceMemory
from service.residency.places import Lease
from tests.support.served import PATIENCE_S, Home


@dataclass(frozen=True)
class Piece:
    """What is staged: a name and bytes."""

    name: str
    size_bytes: int = 10


class Slots:
    """Slots as the bank gives them: the one freed last is the next."""

    def __init__(self) -> None:
        self.held: dict[Slot, Piece] = {}
        self._freed: list[Slot] = []

    def add(self, staged: Piece) -> Slot:
        slot = self._freed.pop() if self._freed else Slot(len(self.held) + 1)
        assert slot not in self.held
        self.held[slot] = staged
        return slot

    def remove(self, slot: Slot) -> None:
        del self.held[slot]
        self._freed.append(slot)


class Device:
    """A device with room for `limit_bytes`, and versions by their numbers."""

    def __init__(self, version: Version, *, limit_bytes: int = 30) -> None:
        self.slots, self.metrics, self.woken = Slots(), Metrics(), threading.Event()
        self.memory: DeviceMemory[Piece] = DeviceMemory(
            self.slots, limit_bytes=limit_bytes, metrics=self.metrics, wake=self.woken.set
        )
        self._version = version

    def version(self, number: int) -> Version:
        return replace(self._version, number=number, manifest_digest=Digest(f"{number:064x}"))

    def bring(self, number: int, *, size_bytes: int = 10) -> "Future[Lease]":
        future: Future[Lease] = Future()
        version = self.version(number)
        future.set_result(self.memory.admit(version, Piece(version.reference, size_bytes), future))
        return future

    def run(self, *futures: "Future[Lease]") -> set[str]:
        """A batch: the names of what is in the slots that it is given."""
        leases = [future.result() for future in futures]
        with self.memory.pinned({lease.digest: lease for lease in leases}) as slots:
            return {self.slots.held[slot].name for slot in slots.values()}

    def there(self, number: int) -> bool:
        return self.version(number).manifest_digest in self.memory


@pytest.fixture
def device(home: Home) -> Device:
    return Device(home.version("en"))


def test_the_longest_unwanted_goes_first(device: Device) -> None:
    for number in (1, 2, 3):
        device.bring(number)
    assert device.memory.find(device.version(1).manifest_digest) is not None
    device.bring(4)
    assert [device.there(number) for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert device.memory.used_bytes == 30


def test_what_is_in_use_stays_and_what_is_not_goes(device: Device) -> None:
    held = device.bring(1)
    for number in (2, 3, 4, 5):
        device.bring(number)
    assert device.there(1)
    del held
    device.bring(6)
    assert not device.there(1)


def test_one_lease_serves_all_and_ends_with_the_last(device: Device) -> None:
    first = device.bring(1)
    second = device.memory.find(device.version(1).manifest_digest)
    assert second is first
    (placed,) = device.memory.places()
    assert placed.in_use
    del first, second
    (placed,) = device.memory.places()
    assert not placed.in_use


def test_slots_hold_what_their_batch_asked_for_while_others_come_and_go(device: Device) -> None:
    for round_ in range(20):
        numbers = [1 + (round_ + offset) % 7 for offset in range(3)]
        futures = [
            device.memory.find(device.version(number).manifest_digest) or device.bring(number) for number in numbers
        ]
        assert device.run(*futures) == {f"en@{number}" for number in numbers}
        del futures
    assert device.memory.used_bytes <= 30


def test_only_the_device_thread_takes_slots_back(device: Device) -> None:
    """A load that needs room waits for the device thread's turn, and asks for one."""
    device.run(device.bring(1), device.bring(2), device.bring(3))
    loader = threading.Thread(target=device.bring, args=(4,))
    loader.start()
    assert device.woken.wait(PATIENCE_S)
    assert len(device.slots.held) == 3
    device.memory.reclaim()
    loader.join(PATIENCE_S)
    assert not loader.is_alive()
    assert len(device.slots.held) == 2
    assert device.there(4)
    assert device.metrics.value("glossa_adapter_overcommits_total") == 0


def test_one_that_is_to_go_stays_when_it_is_wanted_again(device: Device) -> None:
    device.run(device.bring(1), device.bring(2), device.bring(3))
    loader = threading.Thread(target=device.bring, args=(4,))
    loader.start()
    assert device.woken.wait(PATIENCE_S)
    again = device.memory.find(device.version(1).manifest_digest)
    assert again is not None
    while loader.is_alive():
        device.memory.reclaim()
        loader.join(0.01)
    assert device.run(again) == {"en@1"}
    assert not device.there(2)


def test_loads_wait_for_the_batch_that_runs(device: Device) -> None:
    futures = [device.bring(number) for number in (1, 2, 3)]
    leases = [future.result() for future in futures]
    came = threading.Event()

    def load() -> None:
        device.bring(4)
        came.set()

    with device.memory.pinned({lease.digest: lease for lease in leases}):
        loader = threading.Thread(target=load)
        loader.start()
        del futures, leases
        assert not came.wait(0.3)
        assert device.memory.used_bytes == 30
    while loader.is_alive():
        device.memory.reclaim()
        loader.join(0.01)
    assert device.memory.used_bytes == 30


def test_what_everybody_waits_for_goes_beyond_the_limit(device: Device) -> None:
    """All that is there is in use by requests that wait for this load: to refuse it would stop them for ever."""
    held = [device.bring(number) for number in (1, 2, 3, 4)]
    assert device.memory.used_bytes == 40
    assert device.metrics.value("glossa_adapter_overcommits_total") == 1
    del held
    device.bring(5)
    assert device.memory.used_bytes <= 30


def test_what_never_fits_is_refused_at_once(device: Device) -> None:
    with pytest.raises(AdapterLoadFailed, match="GLOSSA_ADAPTER_BYTES"):
        device.bring(1, size_bytes=31)
    futures = [device.bring(number, size_bytes=20) for number in (2, 3)]
    with pytest.raises(AdapterLoadFailed, match="40 bytes"):
        device.run(*futures)


def test_what_is_pinned_stays_until_it_is_not(device: Device) -> None:
    device.memory.pin(device.bring(1).result())
    for number in (2, 3, 4, 5):
        device.bring(number)
    assert device.there(1)
    assert device.metrics.value("glossa_pinned_adapters") == 1
    device.memory.unpin(device.version(1).manifest_digest)
    for number in (6, 7, 8):
        device.bring(number)
    assert not device.there(1)


def test_no_more_than_half_is_pinned(device: Device) -> None:
    device.memory.pin(device.bring(1).result())
    lease = device.bring(2).result()
    with pytest.raises(PinsFull, match="en@2"):
        device.memory.pin(lease)
    device.memory.pin(device.memory.find(device.version(1).manifest_digest).result())  # type: ignore[union-attr]
