"""CUDA graphs of small batches: an encoder pass recorded once and replayed, where launching its kernels would dominate.

A graph runs one shape. So a batch is filled up with dummy rows to a number of tokens from a short list, and everything
else that differs between batches lies in one tensor of integers, which is all that is copied before a replay.
"""

import logging
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from .backbone import Backbone
from .bank import Bank
from .forward import hidden_states
from .packing import Draft, Extent, draft_batch, open_batch, send
from .plan import BARE, IDENTITY, Plan, RowStack, Slot, plan_rows
from .slabs import Slabs
from .stack import Adapters

_log = logging.getLogger(__name__)

TOKEN_BUCKETS = (64, 128, 256, 512, 1024, 2048)
"""Larger batches keep the device busy without graphs."""

_TOKENS_PER_ROW = 8
"""A graph has room for a row per so many tokens; batches of shorter rows run without."""

_SHORT_ROW = 128
_AGAIN_AFTER = 256
"""So often a shape comes before it is recorded where there was no memory for it."""

_SHAPES_PER_GRAPH = 8
"""So many shapes are counted for each graph that may be."""

SlabsSeen = tuple[tuple[int, int], ...]

Run = Callable[[], torch.Tensor]
Replay = Callable[[], object]


class Capture(Protocol):
    """Records a run -> what replays it, and the tensor that every replay writes its result to."""

    def __call__(self, run: Run, *, is_first: bool) -> tuple[Replay, torch.Tensor]:
        """`is_first` where no recording before this one is left. Raises `RuntimeError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphShape:
    """What batches of one graph have in common. Slabs as (number, generation): one that has moved is another."""

    tokens: int
    extent: Extent
    language: SlabsSeen
    task: SlabsSeen


@dataclass(slots=True, kw_only=True)
class _Graph:
    flat: torch.Tensor  # where the numbers of the batch to run lie
    replay: Replay
    hidden: torch.Tensor  # (tokens, D)
    replayed: int  # the turn of the last time


@dataclass(slots=True, kw_only=True)
class _Seen:
    """A shape without a graph. Batches that could be graphs are counted through as turns."""

    times: int
    since: int  # turn


class Graphs:
    """Owned by the one thread that runs batches. A batch that fits no graph runs as `forward.hidden_states` does."""

    def __init__(
        self,
        backbone: Backbone,
        bank: Bank,
        *,
        capture: Capture,
        most: int = 32,
        after: int = 4,
        token_buckets: Sequence[int] = TOKEN_BUCKETS,
    ) -> None:
        """At most `most` graphs, each recorded when its shape comes for the `after`th time: that holds batches up.

        Beyond `most`, one takes the place of another that was not replayed while it came so often.
        """
        self._backbone = backbone
        self._bank = bank
        self._capture = capture
        self._most = most
        self._after = after
        self._token_buckets = token_buckets
        self._graphs: OrderedDict[GraphShape, _Graph] = OrderedDict()  # the least recently replayed first
        self._seen: OrderedDict[GraphShape, _Seen] = OrderedDict()  # the least recently seen first
        self._turn = 0
        self._generation = -1
        self._is_sound = True

    def __len__(self) -> int:
        return len(self._graphs)

    @torch.inference_mode()
    def hidden_states(
        self, backbone: Backbone, adapters: Adapters, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]
    ) -> tuple[torch.Tensor, Plan]:
        """As `forward.hidden_states`, with dummy rows after the given ones; valid until the next call."""
        assert backbone is self._backbone
        assert adapters is self._bank
        slabs = self._bank.grouped_slabs
        if slabs is not None and slabs.generation != self._generation:
            self._forget_moved(slabs)
        shape = None if slabs is None or not self._is_sound else self._shape(rows, stacks, slabs)
        if slabs is None or shape is None or not self._is_wanted(shape):
            return hidden_states(backbone, adapters, rows, stacks)
        padded = [*rows, *self._dummies(shape, rows)]
        all_stacks = [*stacks, *[BARE] * (len(padded) - len(rows))]
        plan = plan_rows([len(row) for row in padded], all_stacks, rank=slabs.rank)
        draft = draft_batch(padded, plan, backbone, slabs, extent=shape.extent)
        graph = self._graph(shape, draft)
        if graph is None:
            return hidden_states(backbone, adapters, rows, stacks)
        graph.flat.copy_(send(draft.flat, graph.flat.device))
        graph.replay()
        self._graphs.move_to_end(shape)
        graph.replayed = self._turn
        return graph.hidden, plan

    def _shape(self, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack], slabs: Slabs) -> GraphShape | None:
        """None for a batch that no graph has room for."""
        tokens = sum(len(row) for row in rows)
        bucket = bisect_left(self._token_buckets, tokens)
        if bucket == len(self._token_buckets):
            return None
        tokens = self._token_buckets[bucket]
        is_short = max(len(row) for row in rows) <= _SHORT_ROW
        longest = min(_SHORT_ROW, self._backbone.config.max_tokens) if is_short else self._backbone.config.max_tokens
        shape = GraphShape(
            tokens=tokens,
            extent=Extent(rows=tokens // _TOKENS_PER_ROW, longest=longest),
            language=_slabs_of({stack.language for stack in stacks}, slabs),
            task=_slabs_of({stack.task for stack in stacks}, slabs),
        )
        return shape if len(rows) + len(self._dummies(shape, rows)) <= shape.extent.rows else None

    def _dummies(self, shape: GraphShape, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Rows that fill a batch up, none longer than the shape's longest."""
        lacking = shape.tokens - sum(len(row) for row in rows)
        whole, rest = divmod(lacking, shape.extent.longest)
        pad = self._backbone.config.pad_token_id
        return [[pad] * length for length in (*[shape.extent.longest] * whole, rest) if length]

    def _is_wanted(self, shape: GraphShape) -> bool:
        """Whether there is a graph of the shape or, having come often enough, is to be one."""
        self._turn += 1
        if shape in self._graphs:
            return True
        seen = self._seen.setdefault(shape, _Seen(times=0, since=self._turn))
        seen.times += 1
        self._seen.move_to_end(shape)
        if len(self._seen) > _SHAPES_PER_GRAPH * self._most:
            self._seen.popitem(last=False)
        if seen.times < self._after:
            return False
        del self._seen[shape]
        if len(self._graphs) < self._most:
            return True
        oldest, graph = next(iter(self._graphs.items()))
        if graph.replayed >= seen.since:
            return False
        del self._graphs[oldest]
        return True

    def _forget_moved(self, slabs: Slabs) -> None:
        """Drop the graphs that read slabs where they no longer lie. Their shapes do not come again."""
        self._generation = slabs.generation
        there = {(slab.number, slab.generation) for slab in slabs}
        for shape in [one for one in self._graphs if not there.issuperset((*one.language, *one.task))]:
            del self._graphs[shape]
        for shape in [one for one in self._seen if not there.issuperset((*one.language, *one.task))]:
            del self._seen[shape]

    def _graph(self, shape: GraphShape, draft: Draft) -> _Graph | None:
        """The shape's graph, recorded now if there is none. None where the device has no memory for it now.

        Where the device refuses for another reason there are no graphs from then on.
        """
        found = self._graphs.get(shape)
        if found is not None:
            return found
        try:
            flat = draft.flat.to(self._backbone.device, copy=True)
            replay, hidden = self._capture(
                lambda: self._backbone(open_batch(draft, flat, self._backbone), self._bank),
                is_first=not self._graphs,
            )
        except RuntimeError as error:
            # What ends a recording may raise over what it was ended by.
            if any(isinstance(one, torch.OutOfMemoryError) for one in (error, error.__context__)):
                self._seen[shape] = _Seen(times=self._after - _AGAIN_AFTER, since=self._turn)
                _log.info("no memory for a CUDA graph of %d tokens now: %s", shape.tokens, _first_line(error))
                return None
            self._is_sound = False
            self._graphs.clear()
            _log.warning("no CUDA graphs from now on, small batches run slower: %s", _first_line(error))
            return None
        graph = self._graphs[shape] = _Graph(flat=flat, replay=replay, hidden=hidden, replayed=self._turn)
        return graph


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _slabs_of(slots: set[Slot], slabs: Slabs) -> SlabsSeen:
    found = {slabs.place_of(slot)[0] for slot in slots if slot != IDENTITY}
    return tuple(sorted((slab.number, slab.generation) for slab in found))


class CudaCapture:
    """`Capture` on a CUDA device. All graphs share memory, so one's result is valid until another's replay."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        # One for good: libraries keep a workspace for each stream that they have run on.
        self._stream = torch.cuda.Stream(device)

    def __call__(self, run: Run, *, is_first: bool) -> tuple[Replay, torch.Tensor]:
        if is_first:
            # A pool is of no use after its last graph has gone, as long as anything else lies in it.
            self._pool = torch.cuda.graph_pool_handle()
        # Where recording fails, `torch.cuda.graph` leaves its stream the current one; this does not.
        with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.current_stream(self._device)):
            return self._recorded(run)

    def _recorded(self, run: Run) -> tuple[Replay, torch.Tensor]:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            run()  # libraries take their workspaces for a stream at a first run on it, which cannot be recorded
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # "thread_local": loader threads go on copying adapters meanwhile, which is no part of the graph.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            hidden = run()
        return graph.replay, hidden
