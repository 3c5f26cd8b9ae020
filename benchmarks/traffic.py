"""Traffic like a server's: rows with token lengths of real sentences, languages and tasks by Zipf's law. Seeded.

Lengths are log-normal with median 30 and sigma 0.7, special tokens included, capped at 128. Held against 20 languages
of running text and 12 NER test sets through XLM-R's pieces: medians 23 and 35, sigmas 0.69 and 0.77, beyond 128 tokens
0.9 % and 2.3 %; this distribution has 1.9 %.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .shapes import END, SPECIAL_PIECES, START

MEDIAN_TOKENS = 30
SIGMA = 0.7
MOST_TOKENS = 128
LEAST_TOKENS = 4
ZIPF_EXPONENT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One row: piece ids with both special ones, and the ranks of its language and its task; 0 is asked for most."""

    number: int
    ids: tuple[int, ...]
    language: int
    task: int


def zipf(count: int) -> npt.NDArray[np.float64]:
    """Probabilities of `count` ranks."""
    weights = 1.0 / np.arange(1, count + 1) ** ZIPF_EXPONENT
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def lengths(draw: np.random.Generator, count: int, *, most: int = MOST_TOKENS) -> list[int]:
    """Tokens of `count` rows."""
    drawn = np.rint(draw.lognormal(np.log(MEDIAN_TOKENS), SIGMA, count)).astype(int)
    return [int(length) for length in np.clip(drawn, LEAST_TOKENS, most)]


def asks(*, vocab_size: int, languages: int, tasks: int, seed: int, most_tokens: int = MOST_TOKENS) -> Iterator[Ask]:
    """An endless stream of rows, the same for the same arguments. Pieces are uniform: no layer looks at them twice."""
    draw = np.random.default_rng(seed)
    language_shares, task_shares = zipf(languages), zipf(tasks)
    number = 0
    while True:
        chunk = 256
        picked = zip(
            lengths(draw, chunk, most=most_tokens),
            draw.choice(languages, chunk, p=language_shares).tolist(),
            draw.choice(tasks, chunk, p=task_shares).tolist(),
            strict=True,
        )
        for length, language, task in picked:
            inner = draw.integers(SPECIAL_PIECES, vocab_size, length - 2).tolist()
            yield Ask(number=number, ids=(START, *inner, END), language=language, task=task)
            number += 1


def take(stream: Iterator[Ask], tokens: int) -> list[Ask]:
    """The next rows, until they have at least `tokens` tokens."""
    taken: list[Ask] = []
    left = tokens
    while left > 0:
        ask = next(stream)
        taken.append(ask)
        left -= len(ask.ids)
    return taken


def tokens_of(rows: Sequence[Ask]) -> int:
    return sum(len(row.ids) for row in rows)


def batches(rows: Sequence[Ask], budget_tokens: int) -> list[list[Ask]]:
    """Rows as they come, in batches of at most `budget_tokens`; a longer row is a batch of its own."""
    packed: list[list[Ask]] = []
    free = 0
    for row in rows:
        if not packed or len(row.ids) > free:
            packed.append([])
            free = budget_tokens
        packed[-1].append(row)
        free -= len(row.ids)
    return packed
