"""The line of rows that wait: fair between keys, in order within one. Pure: no clock, no thread, no torch.

Of the keys that wait, the one that was served least goes next (start-time fair queuing). What counts as served begins
anew when a key comes: at the virtual time, which grows by a batch's cost over the number of waiting keys. So a
newcomer cannot claim the past, and a key that was served much is never further behind than one batch.

P. Goyal, H. Vin and H. Cheng, "Start-time fair queuing", SIGCOMM 1996.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from .batching import Waiting

_Place = tuple[float, int, int, Waiting]
"""Ordered by rank, then by request and row, which no two rows share."""


def _place(waiting: Waiting) -> _Place:
    return (waiting.rank_s, waiting.work, waiting.row, waiting)


class Line:
    """Adding and removing a row costs the logarithm of their number; a batch looks only at the rows near its front."""

    def __init__(self) -> None:
        self._rows: dict[str, list[_Place]] = {}  # no list is empty
        self._served: dict[str, float] = {}
        self._virtual = 0.0
        self._number = 0

    def __len__(self) -> int:
        return self._number

    @property
    def keys(self) -> Iterable[str]:
        """Those that wait."""
        return self._rows.keys()

    def add(self, rows: Iterable[Waiting]) -> None:
        for waiting in rows:
            if waiting.key not in self._rows:
                self._rows[waiting.key] = []
                self._served[waiting.key] = self._virtual
            insort(self._rows[waiting.key], _place(waiting))
            self._number += 1

    def discard(self, rows: Iterable[Waiting]) -> None:
        """Take rows out that will not run; what is not in line is no error."""
        for waiting in rows:
            places = self._rows.get(waiting.key, [])
            index = bisect_left(places, (waiting.rank_s, waiting.work, waiting.row))
            if index == len(places) or places[index][1:3] != (waiting.work, waiting.row):
                continue
            del places[index]
            self._number -= 1
            if not places:
                del self._rows[waiting.key], self._served[waiting.key]

    def in_turn(self) -> Iterator[Waiting]:
        """All rows, as fairness has it. The line must not change meanwhile."""
        heads = [(self._served[key], *places[0][:3], key, 0) for key, places in self._rows.items()]
        heapq.heapify(heads)
        while heads:
            served, _, _, _, key, index = heads[0]
            places = self._rows[key]
            waiting = places[index][3]
            index += 1
            if index < len(places):
                heapq.heapreplace(heads, (served + waiting.cost, *places[index][:3], key, index))
            else:
                heapq.heappop(heads)
            yield waiting

    def take(self, batch: Sequence[Waiting]) -> None:
        """Take rows out that run now, and charge their keys."""
        if not batch:
            return
        cost = sum(waiting.cost for waiting in batch)
        for waiting in batch:
            self._served[waiting.key] += waiting.cost
        self._virtual += cost / len(self._rows)
        self.discard(batch)
        if self._served:
            self._virtual = max(self._virtual, min(self._served.values()))
        for key, served in self._served.items():
            self._served[key] = min(served, self._virtual + cost)
