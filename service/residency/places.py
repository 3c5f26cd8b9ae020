"""One adapter's place on the device, and the leases that keep it there."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar
from weakref import ref

from madx.manifest import Digest
from madx.plan import Slot


class Sized(Protocol):
    @property
    def size_bytes(self) -> int: ...


Staged = TypeVar("Staged", bound=Sized)


class Lease:
    """As long as one lives, its adapter stays on the device."""

    __slots__ = ("__weakref__", "digest")

    def __init__(self, digest: Digest) -> None:
        self.digest = digest


@dataclass(slots=True, kw_only=True, eq=False)
class Place(Generic[Staged]):
    """One adapter; `staged` until it is in a slot."""

    reference: str
    size_bytes: int
    staged: Staged | None
    slot: Slot | None = None
    lease: "ref[Lease] | None" = None
    future: "ref[Future[Lease]] | None" = None
    since_s: float = field(default_factory=time.monotonic)
    used_s: float = field(default_factory=time.monotonic)

    @property
    def is_in_use(self) -> bool:
        return self.lease is not None and self.lease() is not None

    def lent(self, digest: Digest) -> "Future[Lease]":
        """A future that is done. One lease and one future for all who want it at the same time."""
        self.used_s = time.monotonic()
        future = None if self.future is None else self.future()
        if future is None:
            lease = (None if self.lease is None else self.lease()) or Lease(digest)
            future = Future()
            future.set_result(lease)
            self.lease, self.future = ref(lease), ref(future)
        return future


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """What is told of an adapter on the device. `idle_s` since it was wanted last."""

    reference: str
    digest: Digest
    size_bytes: int
    in_use: bool
    pinned: bool
    idle_s: float
