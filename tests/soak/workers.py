"""Who uses the registry in the soak: each worker writes under names of its own, and reads everybody's."""

import hashlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from .contents import SHARES, Content, content
from .doors import Door, Refused

NAMES_EACH = 3
FEW_SEEDS = 40  # so that names share weights, and content comes back after it was deleted
MOST_LIVE = 60
MOST_TOLD = 20
RETRY_S = 0.2


@dataclass(eq=False, slots=True, kw_only=True)
class Live:
    """A version that is there as far as its owner knows: it was answered, and nobody has asked to delete it since."""

    name: str
    number: int
    content: Content


@dataclass(slots=True)
class Truth:
    """What must be there, shared by all workers, and what went wrong."""

    live: set[Live] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, told: str | None = None) -> None:
        with self.lock:
            self.counts[what] += 1
            if told is not None and len(self.told) < MOST_TOLD:
                self.told.append(f"{what}: {told}")

    def add_counts(self, counts: dict[str, int]) -> None:
        with self.lock:
            self.counts.update(counts)

    def add(self, live: Live) -> None:
        with self.lock:
            self.live.add(live)

    def remove(self, live: Live) -> None:
        """Before it is asked for: from then on nobody may rely on it."""
        with self.lock:
            self.live.discard(live)

    def any(self) -> Live | None:
        with self.lock:
            return random.choice(list(self.live)) if self.live else None

    def check(self, door: Door, live: Live) -> None:
        """Download a version; lost is one that is not there, or not as it was, and that nobody has deleted since."""
        found = door.download(live.name, live.number)
        if found is not None and hashlib.sha256(found).hexdigest() == live.content.weights_digest:
            self.count("downloads")
            return
        with self.lock:
            still = live in self.live
        if still:
            self.count("lost", f"{live.name}@{live.number}: {'not there' if found is None else 'other bytes'}")
        else:
            self.count("downloads of what was just deleted")


@dataclass(slots=True, kw_only=True)
class Worker:
    index: int
    door: Door
    truth: Truth
    own: list[Live] = field(default_factory=list)
    deleted: list[Live] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    pointed: dict[str, int] = field(default_factory=dict)

    def run(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            step = random.choices(
                (self.publish, self.download, self.delete, self.bring_back, self.move), (30, 40, 12, 12, 6)
            )[0]
            try:
                step()
            except Refused:
                self.truth.count("refused for now")
                time.sleep(RETRY_S)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                self.truth.count("errors", f"{step.__name__}: {type(error).__name__}: {error}")

    def publish(self) -> None:
        if len(self.own) >= MOST_LIVE:
            self.delete()
            return
        size = random.choices(list(SHARES), list(SHARES.values()))[0]
        seed = random.randrange(FEW_SEEDS) if random.random() < 0.5 else random.randrange(1 << 40)
        self._publish(f"soak-{self.index}-{size}-{random.randrange(NAMES_EACH)}", content(size, seed))

    def _publish(self, name: str, made: Content) -> None:
        number = self.door.publish(name, made)
        self.truth.count("uploads")
        self.deleted = [live for live in self.deleted if (live.name, live.number) != (name, number)]
        if not any((live.name, live.number) == (name, number) for live in self.own):
            self._own(Live(name=name, number=number, content=made))

    def _own(self, live: Live) -> None:
        self.own.append(live)
        self.truth.add(live)

    def download(self) -> None:
        live = self.truth.any()
        if live is not None:
            self.truth.check(self.door, live)

    def delete(self) -> None:
        free = [live for live in self.own if self.pointed.get(live.name) != live.number]
        if not free:
            return
        live = random.choice(free)
        self.truth.remove(live)
        self.own.remove(live)
        self.door.delete(live.name, live.number)
        self.deleted.append(live)
        self.truth.count("deletions")

    def bring_back(self) -> None:
        """Of those whose weights are gone, publishing the same content brings back the same version."""
        if not self.deleted:
            return
        live = self.deleted.pop(random.randrange(len(self.deleted)))
        if self.door.restore(live.name, live.number):
            self.truth.count("restorations")
            self._own(Live(name=live.name, number=live.number, content=live.content))
        else:
            self.truth.count("publications after collection")
            self._publish(live.name, live.content)

    def move(self) -> None:
        if not self.own:
            return
        live = random.choice(self.own)
        if self.pointed.get(live.name) == live.number:
            return
        self.revisions[live.name] = self.door.move(live.name, live.number, self.revisions.get(live.name, 0))
        self.pointed[live.name] = live.number
        self.truth.count("alias moves")
