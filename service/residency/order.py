"""In which order adapters leave the device: segmented LRU. Pure: no clock, no lock.

What has been wanted once leaves before what has been wanted again, each by when it was wanted last. So adapters that
come one after the other, each for one request, take the places of each other and not those of a language that is asked
for all the time. What was wanted again keeps at most `PROVEN` of the bytes; beyond that the one of them unwanted for
longest counts as wanted once, so that yesterday's favourites leave too.

R. Karedla, J. S. Love and B. G. Wherry, "Caching strategies to improve disk system performance", Computer 27 (3), 1994.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain

from madx.manifest import Digest

PROVEN = 0.8


class EvictionOrder:
    """Of adapters with their bytes. Iterating gives those first that should leave first."""

    def __init__(self, limit_bytes: int) -> None:
        self._proven_limit_bytes = int(PROVEN * limit_bytes)
        self._proven_bytes = 0
        self._once: OrderedDict[Digest, int] = OrderedDict()  # the one unwanted for longest first
        self._proven: OrderedDict[Digest, int] = OrderedDict()

    def __iter__(self) -> Iterator[Digest]:
        return chain(self._once, self._proven)

    def add(self, digest: Digest, size_bytes: int) -> None:
        """It has come, for whoever wanted it."""
        self._once[digest] = size_bytes

    def want(self, digest: Digest) -> None:
        """Again."""
        if digest in self._proven:
            self._proven.move_to_end(digest)
            return
        size_bytes = self._proven[digest] = self._once.pop(digest)
        self._proven_bytes += size_bytes
        while self._proven_bytes > self._proven_limit_bytes:
            longest, freed_bytes = self._proven.popitem(last=False)
            self._once[longest] = freed_bytes
            self._proven_bytes -= freed_bytes

    def discard(self, digest: Digest) -> None:
        """It has left."""
        if self._once.pop(digest, None) is None:
            self._proven_bytes -= self._proven.pop(digest, 0)
