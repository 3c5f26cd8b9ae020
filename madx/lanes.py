"""Lanes: one batch on the cores of a CPU as several smaller ones, side by side on a thread each.

A forward is hundreds of short operations. Spread over the cores one by one, each ends in a wait for the slowest core,
which is long where another process has taken one; lanes wait for each other once a batch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from .backbone import Backbone
from .forward import Row, hidden_states, infer
from .linear import round_tokens
from .plan import BARE, Plan, RowStack
from .stack import Adapters
from .threads import OneThread

_LARGEST_SHARE = 0.7
"""Of two parts' tokens, in one of them. Beyond it, all cores on one operation at a time are faster."""
_PART_TOKENS = 1024
"""About as many are computed at once, so that what flows between layers stays in the processor's cache."""


class Lanes:
    """As many lanes as `cores`. Used by one thread, which waits for the answers."""

    def __init__(self, cores: int) -> None:
        """`cores` is at least 2."""
        self._cores = cores
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="glossa-lane", initializer=OneThread().begin)

    def infer(self, backbone: Backbone, adapters: Adapters, rows: Sequence[Row]) -> list[torch.Tensor]:
        """As `forward.infer`, whatever the number of lanes."""
        total = sum(len(row.input_ids) for row in rows)
        turns = -(-total // (self._cores * _PART_TOKENS))
        shares = split_rows(rows, turns * self._cores)
        if len(shares) < 2:
            return infer_rounded(backbone, adapters, rows)
        parts = self._pool.map(
            lambda share: infer_rounded(backbone, adapters, [rows[index] for index in share]), shares
        )
        answers: dict[int, torch.Tensor] = {}
        for share, part in zip(shares, parts, strict=True):
            answers.update(zip(share, part, strict=True))
        return [answers[index] for index in range(len(rows))]

    def close(self) -> None:
        self._pool.shutdown()


def infer_rounded(backbone: Backbone, adapters: Adapters, rows: Sequence[Row]) -> list[torch.Tensor]:
    """As `forward.infer`, through as many tokens as `linear.round_tokens` says."""
    return infer(backbone, adapters, rows, encode=_rounded_hidden_states)


def _rounded_hidden_states(
    backbone: Backbone, adapters: Adapters, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]
) -> tuple[torch.Tensor, Plan]:
    """With a row of padding after the given ones, which nobody reads."""
    tokens = sum(len(row) for row in rows)
    longest = backbone.config.max_tokens
    whole, rest = divmod(round_tokens(tokens) - tokens, longest)
    padding = [[backbone.config.pad_token_id] * length for length in (*[longest] * whole, rest) if length]
    return hidden_states(backbone, adapters, [*rows, *padding], [*stacks, *[BARE] * len(padding)])


def split_rows(rows: Sequence[Row], parts: int) -> list[list[int]]:
    """Indices of rows by part: about equal in tokens, rows of one language together; one part if they do not divide.

    A cut may go through a language's rows, whose adapter then is read for both parts.
    """
    order = sorted(range(len(rows)), key=lambda row: (rows[row].stack.language, rows[row].stack.task))
    total = sum(len(row.input_ids) for row in rows)
    shares: list[list[int]] = [[] for _ in range(parts)]
    before = 0
    tokens = [0] * parts
    for row in order:
        length = len(rows[row].input_ids)
        part = (2 * before + length) * parts // (2 * total)  # where the row's middle falls
        shares[part].append(row)
        tokens[part] += length
        before += length
    if max(tokens) * parts > 2 * _LARGEST_SHARE * total:
        return [list(range(len(rows)))]
    return [share for share in shares if share]
