"""Adapters on the device: none in use is evicted, no slot of a running batch is reused, and the limit holds."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

import pytest

from madx.manifest import Digest
from madx.plan import Slot
from registry.values import Version
from service.errors import AdapterLoadFailed, PinsFull
from service.metrics import Metrics
from service.residency.device import OVER_AFTER_IDLE_S, OVER_AFTER_S, DeviceMemory
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


class Clock:
    """Stands still unless a test moves it."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Device:
    """A device with room for `limit_bytes`, and versions by their numbers. Nothing goes over while `clock` rests."""

    def __init__(self, version: Version, *, limit_bytes: int = 30) -> None:
        self.slots, self.metrics, self.woken, self.clock = Slots(), Metrics(), threading.Event(), Clock()
        self.memory: DeviceMemory[Piece] = DeviceMemory(
            self.slots, limit_bytes=limit_bytes, metrics=self.metrics, wake=self.woken.set, clock=self.clock
        )
        self._version = version

    @property
    def overcommits(self) -> float | None:
        return self.metrics.value("glossa_adapter_overcommits_total")

    def version(self, number: int) -> Version:
        return replace(self._version, number=number, manifest_digest=Digest(f"{number:064x}"))

    def bring(self, number: int, *, size_bytes: int = 10) -> "Future[Lease]":
        future: Future[Lease] = Future()
        version = self.version(number)
        future.set_result(self.memory.admit(version, Piece(version.reference, size_bytes), future))
        return future

    def loading(
        self, number: int, came: "Callable[[Future[Lease]], None]" = lambda _: None, *, size_bytes: int = 10
    ) -> threading.Thread:
        """A loader that brings one in, which may have to wait."""
        loader = threading.Thread(target=lambda: came(self.bring(number, size_bytes=size_bytes)), daemon=True)
        loader.start()
        return loader

    def taking_turns(self, loader: threading.Thread) -> None:
        """The device thread has nothing to compute until the load is through."""
        until_s = time.monotonic() + PATIENCE_S
        while loader.is_alive():
            assert time.monotonic() < until_s
            self.memory.reclaim()
            loader.join(0.01)

    def over_after(self, seconds: float, loader: threading.Thread) -> None:
        """The load goes over the limit when it has waited so long, and not before."""
        self.clock.now_s += 0.9 * seconds
        loader.join(0.1)
        assert loader.is_alive()
        self.clock.now_s += 0.2 * seconds
        loader.join(PATIENCE_S)
        assert not loader.is_alive()

    def run(self, *futures: "Future[Lease]") -> set[str]:
        """A batch: the names of what is in the slots that it is given."""
        leases = [future.result() for future in futures]
        with self.memory.slots_of({lease.digest: lease for lease in leases}) as slots:
            return {self.slots.held[slot].name for slot in slots.values()}

    def found(self, number: int) -> "Future[Lease]":
        future = self.memory.find(self.version(number).manifest_digest)
        assert future is not None
        return future

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
        futures: list[Future[Lease]] = []
        for number in numbers:
            if device.there(number):
                futures.append(device.found(number))
            else:
                device.taking_turns(device.loading(number, futures.append))
        assert device.run(*futures) == {f"en@{number}" for number in numbers}
        del futures
    assert device.memory.used_bytes == 30
    assert device.overcommits == 0


def test_only_the_device_thread_takes_slots_back(device: Device) -> None:
    """A load that needs room waits for the device thread's turn, and asks for one."""
    device.run(device.bring(1), device.bring(2), device.bring(3))
    loader = device.loading(4)
    assert device.woken.wait(PATIENCE_S)
    assert len(device.slots.held) == 3
    device.memory.reclaim()
    loader.join(PATIENCE_S)
    assert not loader.is_alive()
    assert len(device.slots.held) == 2
    assert device.there(4)
    assert device.overcommits == 0


def test_one_that_is_to_go_stays_when_it_is_wanted_again(device: Device) -> None:
    device.run(device.bring(1), device.bring(2), device.bring(3))
    loader = device.loading(4)
    assert device.woken.wait(PATIENCE_S)
    again = device.memory.find(device.version(1).manifest_digest)
    assert again is not None
    device.taking_turns(loader)
    assert device.run(again) == {"en@1"}
    assert not device.there(2)


def test_loads_wait_for_the_batch_that_runs(device: Device) -> None:
    futures = [device.bring(number) for number in (1, 2, 3)]
    leases = [future.result() for future in futures]
    with device.memory.slots_of({lease.digest: lease for lease in leases}):
        loader = device.loading(4)
        del futures, leases
        device.clock.now_s += 0.9 * OVER_AFTER_S
        loader.join(0.1)
        assert loader.is_alive()
        assert device.memory.used_bytes == 30
    device.taking_turns(loader)
    assert device.memory.used_bytes == 30


def test_what_everybody_waits_for_goes_beyond_the_limit(device: Device) -> None:
    """All that is there is in use by requests that wait for this load: to refuse it would stop them for ever."""
    held = [device.bring(number) for number in (1, 2, 3)]
    device.over_after(OVER_AFTER_IDLE_S, device.loading(4, held.append))
    assert (device.memory.used_bytes, device.overcommits) == (40, 1)
    del held
    device.bring(5)
    assert device.memory.used_bytes <= 30


def test_so_it_does_while_others_are_computed_without_end(device: Device) -> None:
    """Two requests hold a language each and wait for their tasks, beside one that is asked for all the time."""
    busy, *held = [device.bring(number) for number in (1, 2, 3)]
    with device.memory.slots_of({busy.result().digest: busy.result()}):
        device.over_after(OVER_AFTER_S, device.loading(4, held.append))
        loader = device.loading(5, held.append)
        device.over_after(OVER_AFTER_S, loader)  # one in so much time, however many wait
    assert (device.memory.used_bytes, device.overcommits) == (50, 2)
    assert len(held) == 4


def test_a_turn_that_is_late_does_not_make_an_idle_device_go_over(device: Device) -> None:
    device.run(device.bring(1), device.bring(2), device.bring(3))
    loader = device.loading(4)
    assert device.woken.wait(PATIENCE_S)
    device.clock.now_s += 5 * OVER_AFTER_IDLE_S
    loader.join(0.1)
    assert loader.is_alive()
    device.taking_turns(loader)
    assert (device.memory.used_bytes, device.overcommits) == (30, 0)


def test_a_load_that_waits_for_a_device_that_hangs_ends_when_it_is_closed(device: Device) -> None:
    held = [device.bring(number) for number in (1, 2, 3)]
    failures: list[AdapterLoadFailed] = []

    def load() -> None:
        try:
            device.bring(4)
        except AdapterLoadFailed as error:
            failures.append(error)

    with device.memory.slots_of({held[0].result().digest: held[0].result()}):
        loader = threading.Thread(target=load, daemon=True)
        loader.start()
        loader.join(0.1)
        assert loader.is_alive()
        device.memory.close()
        loader.join(PATIENCE_S)
        assert not loader.is_alive()
    assert "shutting down" in str(failures[0])
    assert device.memory.used_bytes == 30


def test_what_never_fits_is_refused_at_once(device: Device) -> None:
    with pytest.raises(AdapterLoadFailed, match="GLOSSA_ADAPTER_BYTES"):
        device.bring(1, size_bytes=31)
    futures = [device.bring(2, size_bytes=20)]
    device.over_after(OVER_AFTER_IDLE_S, device.loading(3, futures.append, size_bytes=20))
    with pytest.raises(AdapterLoadFailed, match="40 bytes"):
        device.run(*futures)


def test_what_is_pinned_stays_until_it_is_not(device: Device) -> None:
    device.memory.pin(device.bring(1).result(), "requests")
    for number in (2, 3, 4, 5):
        device.bring(number)
    assert device.there(1)
    assert device.metrics.value("glossa_pinned_adapters") == 1
    device.memory.unpin(device.version(1).manifest_digest, "requests")
    for number in (6, 7, 8):
        device.bring(number)
    assert not device.there(1)


def test_no_more_than_half_is_pinned(device: Device) -> None:
    device.memory.pin(device.bring(1).result(), "requests")
    lease = device.bring(2).result()
    with pytest.raises(PinsFull, match="en@2"):
        device.memory.pin(lease, "requests")
    device.memory.pin(device.memory.find(device.version(1).manifest_digest).result(), "settings")  # type: ignore[union-attr]


def test_nobody_takes_off_what_another_has_pinned(device: Device) -> None:
    lease = device.bring(1).result()
    device.memory.pin(lease, "settings")
    device.memory.unpin(lease.digest, "requests")
    assert device.memory.place(lease).pinned
    device.memory.pin(lease, "requests")
    device.memory.unpin(lease.digest, "settings")
    assert device.memory.place(lease).pinned
    device.memory.unpin(lease.digest, "requests")
    assert not device.memory.place(lease).pinned
    assert device.metrics.value("glossa_pinned_adapters") == 0
