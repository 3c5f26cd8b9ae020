"""Adapters on the device, staged or in a slot of the bank: a limit in bytes, and none that is in use leaves.

An adapter is in use while somebody holds its lease: a queued request, or a batch that runs. Loader threads bring
adapters in and say which are to go; only the device thread touches slots, and takes those out at its next turn.
"""

import threading
import time
from collections.abc import Callable, Iterator, KeysView, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar
from weakref import ref

from madx.manifest import Digest
from madx.plan import Slot
from registry.values import Version

from ..errors import AdapterLoadFailed
from ..metrics import Metrics
from .order import EvictionOrder
from .pinned import Owner, Pinned
from .places import Lease, Place, Placed, Sized

OVER_AFTER_S = 1.0
OVER_AFTER_IDLE_S = 0.1
_POLLED_EVERY_S = 0.02


_Staged = TypeVar("_Staged", bound=Sized)
_StagedIn_contra = TypeVar("_StagedIn_contra", bound=Sized, contravariant=True)


class Slots(Protocol[_StagedIn_contra]):
    """The bank, as the device thread sees it."""

    def add(self, staged: _StagedIn_contra) -> Slot: ...

    def remove(self, slot: Slot) -> None: ...


class DeviceMemory(Generic[_Staged]):
    """Shared between threads, but for what is said to be the device thread's."""

    def __init__(
        self,
        slots: Slots[_Staged],
        *,
        limit_bytes: int,
        metrics: Metrics,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` makes the device thread take a turn soon, if it has nothing to do."""
        self.limit_bytes = limit_bytes
        self._slots = slots
        self._metrics = metrics
        self._wake = wake
        self._clock = clock
        self._changed = threading.Condition()
        self._places: dict[Digest, Place[_Staged]] = {}
        self._order = EvictionOrder(limit_bytes)
        self._sizes: dict[Digest, int] = {}
        self._in_slots: dict[Digest, Slot] = {}
        self._doomed: set[Digest] = set()
        self._pinned = Pinned(limit_bytes)
        self._used_bytes = 0
        self._computing = 0
        self._is_closed = False
        self._computed_s = self._overcommitted_s = float("-inf")  # when a batch last ended, the last load went over
        metrics.tier_limit_bytes.labels(tier="device").set(limit_bytes)

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._places

    def find(self, digest: Digest) -> "Future[Lease] | None":
        """None where it is not on the device."""
        with self._changed:
            place = self._places.get(digest)
            if place is None:
                return None
            self._order.want(digest)
            self._doomed.discard(digest)
            return place.lent(digest)

    def admit(self, version: Version, staged: _Staged, future: "Future[Lease]") -> Lease:
        """What to set `future` to, which is the one for all who want it from now on. Waits until there is room.

        For `OVER_AFTER_S` at most: all that is there may be in use by requests that wait for this very load, so the
        limit then gives way, to one load in that time. It gives way sooner while nothing is computed, for then nothing
        is let go of. Raises `AdapterLoadFailed` for what never fits, and for all once this is closed.
        """
        if staged.size_bytes > self.limit_bytes:
            raise self._too_large(staged.size_bytes)
        digest = version.manifest_digest
        with self._changed:
            self._wait_for_room(staged.size_bytes)
            lease = Lease(digest)
            self._places[digest] = Place(
                reference=version.reference,
                size_bytes=staged.size_bytes,
                staged=staged,
                lease=ref(lease),
                future=ref(future),
            )
            self._order.add(digest, staged.size_bytes)
            self._sizes[digest] = staged.size_bytes
            self._used_bytes += staged.size_bytes
            self._tell()
            return lease

    def pin(self, lease: Lease, owner: Owner) -> None:
        """Keep it until `owner` unpins it. Raises `PinsFull` where others would have too little left."""
        with self._changed:
            place = self._places[lease.digest]
            self._pinned.add(lease.digest, place.reference, place.size_bytes, owner)
            self._tell()

    def unpin(self, digest: Digest, owner: Owner) -> None:
        """What another pinned too stays pinned; what nobody pinned, or is not there, stays as it is."""
        with self._changed:
            self._pinned.discard(digest, owner)
            self._tell()

    def places(self) -> list[Placed]:
        """By reference."""
        with self._changed:
            placed = [self._shown(digest, place) for digest, place in self._places.items()]
        return sorted(placed, key=lambda one: (one.reference, one.digest))

    def place(self, lease: Lease) -> Placed:
        with self._changed:
            return self._shown(lease.digest, self._places[lease.digest])

    def _shown(self, digest: Digest, place: Place[_Staged]) -> Placed:
        return Placed(
            reference=place.reference,
            digest=digest,
            size_bytes=place.size_bytes,
            in_use=place.is_in_use,
            pinned=digest in self._pinned,
            idle_s=time.monotonic() - place.used_s,
        )

    @property
    def resident(self) -> KeysView[Digest]:
        """Those that are in a slot. The device thread's."""
        return self._in_slots.keys()

    @property
    def sizes(self) -> Mapping[Digest, int]:
        """Bytes of what is on the device: of every adapter whose lease somebody holds, among others."""
        return self._sizes

    @contextmanager
    def slots_of(self, leases: Mapping[Digest, Lease]) -> Iterator[dict[Digest, Slot]]:
        """The device thread's: slots of `leases`, until the block ends. Raises `AdapterLoadFailed` for too many bytes.

        The leases are held here, so that nobody can evict what a batch uses.
        """
        size_bytes = sum(self._places[digest].size_bytes for digest in leases)
        if size_bytes > self.limit_bytes:
            raise self._too_large(size_bytes)
        self.reclaim()
        self._computing += 1
        try:
            yield {digest: self._slot_of(digest) for digest in leases}
        finally:
            with self._changed:
                self._computing -= 1
                self._computed_s = self._clock()
                self._changed.notify_all()

    def reclaim(self) -> None:
        """The device thread's, once a turn: take out what is to go."""
        if not self._doomed:
            return
        with self._changed:
            for digest in self._doomed:
                place = self._places[digest]
                if place.slot is not None and not self._is_needed(digest, place):
                    del self._in_slots[digest]
                    self._slots.remove(place.slot)
                    self._drop(digest)
            self._doomed.clear()
            self._changed.notify_all()

    def _slot_of(self, digest: Digest) -> Slot:
        place = self._places[digest]
        if place.slot is None:
            assert place.staged is not None
            place.slot = self._in_slots[digest] = self._slots.add(place.staged)
            place.staged = None  # the bank has it now; a device must not hold it twice
        return place.slot

    def close(self) -> None:
        """Nothing comes any more: a load that waits for a device that hangs must not keep the process from ending."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _wait_for_room(self, size_bytes: int) -> None:
        began_s = self._clock()
        while not self._is_closed and not self._evict(size_bytes):
            if self._may_go_over(began_s):
                self._metrics.overcommits.inc()
                self._overcommitted_s = self._clock()
                return
            self._changed.wait(_POLLED_EVERY_S)
        if self._is_closed:
            raise AdapterLoadFailed("the server is shutting down")

    def _may_go_over(self, began_s: float) -> bool:
        now_s = self._clock()
        waited_s = now_s - max(began_s, self._overcommitted_s)
        if waited_s > OVER_AFTER_S:
            return True
        is_idle = not self._computing and not self._doomed
        return is_idle and min(waited_s, now_s - self._computed_s) > OVER_AFTER_IDLE_S

    def _evict(self, size_bytes: int) -> bool:
        """Let go of what is not needed until there is room; False where that takes the device thread's turn."""
        lacking_bytes = self._used_bytes + size_bytes - self.limit_bytes
        lacking_bytes -= sum(self._places[digest].size_bytes for digest in self._doomed)
        going: list[Digest] = []
        for digest in self._order:
            if lacking_bytes <= 0:
                break
            if digest not in self._doomed and not self._is_needed(digest, self._places[digest]):
                going.append(digest)
                lacking_bytes -= self._sizes[digest]
        for digest in going:
            if self._places[digest].slot is None:
                self._drop(digest)
            else:
                self._doomed.add(digest)
        if self._doomed:
            self._wake()
        return self._used_bytes + size_bytes <= self.limit_bytes

    def _is_needed(self, digest: Digest, place: Place[_Staged]) -> bool:
        return place.is_in_use or digest in self._pinned

    def _drop(self, digest: Digest) -> None:
        place = self._places.pop(digest)
        self._order.discard(digest)
        self._used_bytes -= self._sizes.pop(digest)
        self._metrics.evictions.labels(tier="device").inc()
        self._metrics.eviction_age_seconds.labels(tier="device").observe(time.monotonic() - place.since_s)
        self._tell()

    def _too_large(self, size_bytes: int) -> AdapterLoadFailed:
        return AdapterLoadFailed(
            f"the stack needs {size_bytes} bytes, more than the {self.limit_bytes} that this server has for adapters; "
            "raise GLOSSA_ADAPTER_BYTES"
        )

    def _tell(self) -> None:
        self._metrics.resident_adapters.labels(tier="device").set(len(self._places))
        self._metrics.resident_bytes.labels(tier="device").set(self._used_bytes)
        self._metrics.pinned_adapters.set(len(self._pinned))
