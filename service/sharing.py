"""Who shares the device: the keys that have asked, or were answered, in the last seconds. Pure; of one thread.

Between two requests of a key that asks little nothing of it may wait, yet the next one is to find the others moderate.
"""

SHARED_S = 5.0
"""For so long after its latest request a key is taken to ask for more."""


class Sharing:
    """Of the keys seen in the last `SHARED_S`. A look costs as much as has come to its end since the one before."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}  # the latest at the end

    def see(self, key: str, now_s: float) -> None:
        self._seen_s.pop(key, None)
        self._seen_s[key] = now_s

    def keys(self, now_s: float) -> int:
        while self._seen_s and self._seen_s[first := next(iter(self._seen_s))] < now_s - SHARED_S:
            del self._seen_s[first]
        return len(self._seen_s)

    def is_beside_others(self, key: str, now_s: float) -> bool:
        return self.keys(now_s) > (key in self._seen_s)
