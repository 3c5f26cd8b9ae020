"""Lanes: one batch on the cores of a CPU as several smaller ones, side by side on a thread each.

A forward is hundreds of short operations. Spread over the cores one by one, each ends in a wait for the slowest core,
which is long where another process has taken one; lanes wait for each other once a batch.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one lane computes of a batch, and where the answers go."""

    compute: Callable[[], list[torch.Tensor]]
    answers: "Future[list[torch.Tensor]]"


_Work = SimpleQueue[_Part | None]


class Lanes:
    """As many lanes as `cores`, which end with it. Used by one thread, which waits for the answers."""

    def __init__(self, cores: int) -> None:
        """`cores` is at least 2."""
        self._cores = cores
        self._work: _Work = SimpleQueue()
        one_thread, ready = OneThread(), threading.Barrier(cores + 1)
        for number in range(cores):
            # Daemons: a forward that hangs must not keep the process from ending.
            threading.Thread(
                target=_run, args=(self._work, one_thread, ready), name=f"glossa-lane-{number}", daemon=True
            ).start()
        weakref.finalize(self, _end, self._work, cores)
        ready.wait()  # until none of them changes torch's number of threads any more

    def infer(self, backbone: Backbone, adapters: Adapters, rows: Sequence[Row]) -> list[torch.Tensor]:
        """As `forward.infer`, whatever the number of lanes."""
        total = sum(len(row.input_ids) for row in rows)
        turns = -(-total // (self._cores * _PART_TOKENS))
        shares = split_rows(rows, turns * self._cores)
        if len(shares) < 2:
            return infer_rounded(backbone, adapters, rows)
        parts = [
            self._begun(partial(infer_rounded, backbone, adapters, [rows[index] for index in share]))
            for share in shares
        ]
        wait(parts)  # for all, also where one fails: none may run beside what comes after
        answers: dict[int, torch.Tensor] = {}
        for share, part in zip(shares, parts, strict=True):
            answers.update(zip(share, part.result(), strict=True))
        return [answers[index] for index in range(len(rows))]

    def _begun(self, compute: Callable[[], list[torch.Tensor]]) -> "Future[list[torch.Tensor]]":
        answers: Future[list[torch.Tensor]] = Future()
        self._work.put(_Part(compute=compute, answers=answers))
        return answers


def _run(work: _Work, one_thread: OneThread, ready: threading.Barrier) -> None:
    one_thread.begin()
    ready.wait()
    while (part := work.get()) is not None:
        try:
            part.answers.set_result(part.compute())
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            part.answers.set_exception(error)
        del part  # and with it the answers, until the next one comes


def _end(work: _Work, lanes: int) -> None:
    for _ in range(lanes):
        work.put(None)


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
