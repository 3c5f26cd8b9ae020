"""The line of rows that wait: fair between keys, in order within one. Pure: no clock, no thread, no torch.

Of the keys that wait, the one that was served least goes next, by start-time fair queuing (P. Goyal, H. Vin and
H. Cheng, SIGCOMM 1996): each key has a tag, to which the cost of its rows is added as they run, and virtual time is the
least tag of those that wait. So keys that always wait are served alike, but for a batch.

Two things differ. A key that comes back is put to where it stood or to `credit` before virtual time, whichever is
later, and so goes before those that always wait until it has used that up: there, a key below its share has its rows
computed at once although they come in bursts, and in batches of their own, which are over sooner than full ones. A new
key is level with those that wait. And virtual time grows with whatever runs, if more slowly than the tag of a key that
has its share: so a stream of keys comes to stand behind a key that they pass.

Whenever nobody waits, everything begins anew: who used a machine that was free has taken nothing from anybody.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from .batching import Waiting

_FORGOTTEN = 5.0
"""So many credits behind virtual time a key that does not wait is as good as new."""
_APART = 0.2
"""Of its credit a key has before its rows run apart from those of others: more than turns alone make of it."""

_Place = tuple[float, int, int, Waiting]
"""Ordered by rank, then by request and row, which no two rows share."""


def _place(waiting: Waiting) -> _Place:
    return (waiting.rank_s, waiting.work, waiting.row, waiting)


class Line:
    """Adding and removing a row costs the logarithm of their number; a batch looks only at the rows near its front.

    While others wait, a key that does not is remembered for a while.
    """

    def __init__(self, *, credit: float) -> None:
        """`credit` is a cost, like that of rows: about what two keys that always wait may differ by."""
        self._credit = credit
        self._rows: dict[str, list[_Place]] = {}  # no list is empty
        self._tags: dict[str, float] = {}
        self._virtual = 0.0
        self._number = 0
        self._cost = 0.0

    def __len__(self) -> int:
        return self._number

    @property
    def cost(self) -> float:
        """Of all rows."""
        return self._cost

    @property
    def waiting_keys(self) -> int:
        return len(self._rows)

    @property
    def remembered_keys(self) -> int:
        """Those that wait, and those that have not been away for long."""
        return len(self._tags)

    def add(self, rows: Iterable[Waiting]) -> None:
        for waiting in rows:
            if waiting.key not in self._rows:
                self._rows[waiting.key] = []
                stood = self._tags.get(waiting.key, self._virtual)
                self._tags[waiting.key] = max(stood, self._virtual - self._credit)
            insort(self._rows[waiting.key], _place(waiting))
            self._number += 1
            self._cost += waiting.cost

    def discard(self, rows: Iterable[Waiting]) -> None:
        """Take rows out that will not run; what is not in line is no error."""
        self._remove(rows)
        self._begin_anew_if_empty()

    def _remove(self, rows: Iterable[Waiting]) -> None:
        for waiting in rows:
            places = self._rows.get(waiting.key, [])
            index = bisect_left(places, (waiting.rank_s, waiting.work, waiting.row))
            if index == len(places) or places[index][1:3] != (waiting.work, waiting.row):
                continue
            del places[index]
            self._number -= 1
            self._cost -= waiting.cost
            if not places:
                del self._rows[waiting.key]
                self._forget_if_away(waiting.key)

    def in_turn(self) -> Iterator[Waiting]:
        """All rows, as fairness has it; where a key has some of its credit, only those that keys have credit for.

        The line must not change meanwhile.
        """
        heads = [(self._tags[key], *places[0][:3], key, 0) for key, places in self._rows.items()]
        heapq.heapify(heads)
        apart = bool(heads) and self._virtual - heads[0][0] > _APART * self._credit > 0
        while heads:
            tag, _, _, _, key, index = heads[0]
            if apart and tag >= self._virtual:
                return
            places = self._rows[key]
            waiting = places[index][3]
            index += 1
            if index < len(places):
                heapq.heapreplace(heads, (tag + waiting.cost, *places[index][:3], key, index))
            else:
                heapq.heappop(heads)
            yield waiting

    def take(self, batch: Sequence[Waiting]) -> None:
        """Take rows out that run now, and charge their keys."""
        if not batch:
            return
        for waiting in batch:
            self._tags[waiting.key] += waiting.cost
        # Of n keys that share alike each gets an n-th of what runs: they keep ahead of this and decide, by their tags.
        slowest = self._virtual + sum(waiting.cost for waiting in batch) / (len(self._tags) + 1)
        self._remove(batch)
        self._begin_anew_if_empty()
        if self._rows:
            self._virtual = max(slowest, min(self._tags[key] for key in self._rows))
            for key in list(self._tags):
                self._forget_if_away(key)

    def _begin_anew_if_empty(self) -> None:
        if not self._rows:
            self._tags.clear()
            self._virtual = self._cost = 0.0  # sums of floats do not end at zero

    def _forget_if_away(self, key: str) -> None:
        if key not in self._rows and self._tags[key] <= self._virtual - _FORGOTTEN * self._credit:
            del self._tags[key]
