"""Every random draw of a run is a pure function of its seed, a purpose and a number: so a resumed run draws the same.

Permutations, masks, dropout and initial weights all take their seeds here.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
import torch


def seed_of(seed: int, purpose: str, number: int = 0) -> int:
    """A 63-bit seed for one draw."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), number]).generate_state(2, np.uint32)
    return (int(words[0]) << 32 | int(words[1])) >> 1


def generator_of(seed: int, purpose: str, number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, purpose, number))


@dataclass(slots=True, kw_only=True)
class ShuffledOrder:
    """Which of `size` items the batch of each step takes: one permutation after another, cut into batches.

    A batch may reach over the end of a permutation, so all batches are full.
    """

    size: int
    batch: int
    seed: int
    _permutations: dict[int, np.ndarray[tuple[int], np.dtype[np.int64]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.size < 1 or self.batch < 1:
            raise ValueError(f"cannot draw batches of {self.batch} from {self.size} items")

    def at(self, step: int) -> list[int]:
        """Item numbers of step `step`, counted from 1."""
        first = (step - 1) * self.batch
        return [int(self._permutation(at // self.size)[at % self.size]) for at in range(first, first + self.batch)]

    def _permutation(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if epoch not in self._permutations:
            # A batch touches few epochs; older ones never come back.
            self._permutations = {number: kept for number, kept in self._permutations.items() if number >= epoch - 1}
            generator = np.random.default_rng(seed_of(self.seed, "order", epoch))
            self._permutations[epoch] = generator.permutation(self.size)
        return self._permutations[epoch]
