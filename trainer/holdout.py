"""Which lines of a text are held out: decided by each line's own hash, so it holds in every run and every order.

Pretraining and language adapters hold out the same lines; a perplexity is never measured on text that was trained on.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import TooLittleData

HELD_OUT_SHARE = 0.02


def is_held_out(line: str, share: float = HELD_OUT_SHARE) -> bool:
    """True for about `share` of all lines; a larger share holds out a superset."""
    return _rank(line) < share * 2**64


def _rank(line: str) -> int:
    return int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big")


def split_lines(lines: Iterable[str], share: float = HELD_OUT_SHARE) -> tuple[list[str], list[str]]:
    """(training lines, held-out lines), each in the given order."""
    training: list[str] = []
    held_out: list[str] = []
    for line in lines:
        (held_out if is_held_out(line, share) else training).append(line)
    return training, held_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """Item numbers, in the order of the text; equal keys are on one side."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def part(keys: Sequence[str], sizes: Sequence[int], *, share: float, least: int, most: int) -> Parting:
    """Hold out about `share` of the total size, within `least` and `most`: those whose hashes come first.

    Where sizes are alike, that is what `is_held_out` says for the same share, or a superset or subset of it.
    Raises `TooLittleData` where that would be more than half of all there is.
    """
    total = sum(sizes)
    wanted = min(max(total * share, least), most)
    if 2 * wanted > total:
        raise TooLittleData(f"the data is too small to hold out {wanted:.0f} of {total}; give more data")
    hashes = [_rank(key) for key in keys]
    held: set[int] = set()
    size = 0.0
    for digest, item in sorted(zip(hashes, sizes, strict=True)):
        if size >= wanted and digest not in held:
            break
        held.add(digest)
        size += item
    train = tuple(index for index, digest in enumerate(hashes) if digest not in held)
    if not train:
        raise TooLittleData("all items of the data are alike, so none can be held out; give more data")
    return Parting(train=train, held_out=tuple(index for index, digest in enumerate(hashes) if digest in held))
