"""Long inputs -> overlapping windows, so that nothing is cut and every word is read where it has most context."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Words `start` to `stop` of an input."""

    start: int
    stop: int


def cut_windows(sizes: Sequence[int], capacity: int, overlap: int) -> list[Window]:
    """Cover words of `sizes` pieces by windows of at most `capacity` pieces that share about `overlap` pieces.

    No size may exceed `capacity`. Each window starts after the one before it and adds at least one word.
    """
    if any(size > capacity for size in sizes):
        raise ValueError("a word is larger than the window")
    windows: list[Window] = []
    start = 0
    while start < len(sizes):
        stop, pieces = start, 0
        while stop < len(sizes) and pieces + sizes[stop] <= capacity:
            pieces += sizes[stop]
            stop += 1
        windows.append(Window(start=start, stop=stop))
        if stop == len(sizes):
            break
        start = _next_start(sizes, start, stop, min(overlap, capacity - sizes[stop]))
    return windows


def _next_start(sizes: Sequence[int], start: int, stop: int, room: int) -> int:
    """As far before `stop` as `room` pieces reach, so that word `stop` still fits behind them."""
    first, pieces = stop, 0
    while first - 1 > start and pieces + sizes[first - 1] <= room:
        first -= 1
        pieces += sizes[first]
    return first


def best_windows(windows: Sequence[Window], count: int) -> list[int]:
    """For each of `count` words, the window in which it stands farthest from an inner edge."""
    best = [0] * count
    depth = [-1] * count
    for index, window in enumerate(windows):
        for word in range(window.start, window.stop):
            left = count if window.start == 0 else word - window.start
            right = count if window.stop == count else window.stop - 1 - word
            if min(left, right) > depth[word]:
                depth[word], best[word] = min(left, right), index
    return best
