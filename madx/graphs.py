"""CUDA graphs of small batches: an encoder pass recorded once and replayed, where launching its kernels would dominate.

A graph runs one shape. So a batch is filled up with dummy rows to a number of tokens from a short list, and everything
else that differs between batches lies in one tensor of integers, which is all that is copied before a replay.
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
SlabsSeen = tuple[tuple[int, int], ...]

Run = Callable[[], torch.Tensor]
Capture = Callable[[Run], tuple[Callable[[], object], torch.Tensor]]
"""Records a run -> what replays it, and the tensor that every replay writes its result to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphShape:
    """What batches of one graph have in common. Slabs as (number, capacity): one that grew lies elsewhere."""

    tokens: int
    extent: Extent
    language: SlabsSeen
    task: SlabsSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graph:
    flat: torch.Tensor  # where the numbers of the batch to run lie
    replay: Callable[[], object]
    hidden: torch.Tensor  # (tokens, D)


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
        """At most `most` graphs, each recorded when its shape comes for the `after`th time: that holds batches up."""
        self._backbone = backbone
        self._bank = bank
        self._capture = capture
        self._most = most
        self._after = after
        self._token_buckets = token_buckets
        self._graphs: dict[GraphShape, _Graph] = {}
        self._seen: Counter[GraphShape] = Counter()
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
        shape = None if slabs is None or not self._is_sound else self._shape(rows, stacks, slabs)
        if slabs is None or shape is None or not self._is_wanted(shape):
            return hidden_states(backbone, adapters, rows, stacks)
        padded = [*rows, *self._dummies(shape, rows)]
        plan = plan_rows([len(row) for row in padded], [*stacks, *[BARE] * (len(padded) - len(rows))])
        draft = draft_batch(padded, plan, backbone, slabs, extent=shape.extent)
        graph = None if draft is None else self._graph(shape, draft)
        if graph is None or draft is None:
            return hidden_states(backbone, adapters, rows, stacks)
        graph.flat.copy_(send(draft.flat, graph.flat.device))
        graph.replay()
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
        if shape in self._graphs:
            return True
        self._seen[shape] += 1
        if self._seen[shape] < self._after:
            return False
        self._drop_outgrown()
        return len(self._graphs) < self._most

    def _drop_outgrown(self) -> None:
        """Graphs that read slabs where they no longer lie. Their shapes cannot come again: they only take memory."""
        slabs = self._bank.grouped_slabs
        assert slabs is not None
        capacities = {slab.number: slab.capacity for slab in slabs}
        for shape in list(self._graphs):
            if any(capacities[number] != capacity for number, capacity in (*shape.language, *shape.task)):
                del self._graphs[shape]

    def _graph(self, shape: GraphShape, draft: Draft) -> _Graph | None:
        """The shape's graph, recorded now if there is none. None, from then on for all, where the device refuses."""
        found = self._graphs.get(shape)
        if found is not None:
            return found
        flat = draft.flat.to(self._backbone.device, copy=True)
        try:
            replay, hidden = self._capture(lambda: self._backbone(open_batch(draft, flat, self._backbone), self._bank))
        except RuntimeError as error:
            self._is_sound = False
            _log.warning("no CUDA graphs from now on, small batches run slower: %s", str(error).partition("\n")[0])
            return None
        self._graphs[shape] = _Graph(flat=flat, replay=replay, hidden=hidden)
        return self._graphs[shape]


def _slabs_of(slots: set[Slot], slabs: Slabs) -> SlabsSeen:
    found = {slabs.place_of(slot)[0] for slot in slots if slot != IDENTITY}
    return tuple(sorted((slab.number, slab.capacity) for slab in found))


class CudaCapture:
    """`Capture` on a CUDA device. All graphs share memory, so one's result is valid until another's replay."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        with torch.cuda.device(self._device):
            return self._recorded(run)

    def _recorded(self, run: Run) -> tuple[Callable[[], object], torch.Tensor]:
        current, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            run()  # libraries take their workspaces at a first run, which cannot be recorded
        current.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # "thread_local": loader threads go on copying adapters meanwhile, which is no part of the graph.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            hidden = run()
        return graph.replay, hidden
