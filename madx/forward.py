"""Rows with stacks -> logits: plan, pack, one encoder pass, then heads over gathered positions.

What the server's engine, evaluation and `glossa predict` call; training uses `hidden_states` with its own loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .adapter import Adapter
from .backbone import Backbone, pack
from .bank import Bank
from .errors import NoMaskedLMHead
from .heads.masked_lm import MaskedLMHead
from .heads.tagging import TaggingHead
from .packing import draft_batch, open_batch, send
from .plan import BARE, IDENTITY, Plan, RowStack, plan_rows
from .stack import Adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Token ids of one row, special tokens included; the places its head reads; its stack.

    A row with a task adapter is read by that adapter's head; one without is read by the masked-LM head: its language
    adapter's own, else the backbone's.
    """

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    stack: RowStack = BARE


def hidden_states(
    backbone: Backbone, adapters: Adapters, rows: Sequence[Sequence[int]], stacks: Sequence[RowStack]
) -> tuple[torch.Tensor, Plan]:
    """Token ids -> last hidden states (T, D) in packed order, and the plan that says where each row lies."""
    slabs = adapters.grouped_slabs if isinstance(adapters, Bank) else None
    plan = plan_rows([len(row) for row in rows], stacks, rank=int if slabs is None else slabs.rank)
    if slabs is None:
        packed = pack(rows, plan, backbone.config, backbone.device, bucketed=not backbone.runs_varlen)
    else:
        draft = draft_batch(rows, plan, backbone, slabs)
        packed = open_batch(draft, send(draft.flat, backbone.device), backbone)
    return backbone(packed, adapters), plan


Encode = Callable[[Backbone, Adapters, Sequence[Sequence[int]], Sequence[RowStack]], tuple[torch.Tensor, Plan]]
"""`hidden_states`, or what does the same. Its plan may have further rows after the given ones."""


@torch.inference_mode()
def infer(
    backbone: Backbone, adapters: Adapters, rows: Sequence[Row], *, encode: Encode = hidden_states
) -> list[torch.Tensor]:
    """One encoder pass over all rows; for each row its logits (positions, classes), float32, on the device.

    Raises `NoMaskedLMHead` before computing anything if a row needs a masked-LM head and there is none.
    """
    readers = [_head_key(backbone, adapters, row.stack) for row in rows]
    hidden, plan = encode(backbone, adapters, [row.input_ids for row in rows], [row.stack for row in rows])
    starts = [plan.starts[place] for place in plan.position_of()]
    groups: dict[tuple[int, int], list[int]] = {}
    for index, key in enumerate(readers):
        groups.setdefault(key, []).append(index)
    places = [
        starts[index] + position
        for members in groups.values()
        for index in members
        for position in rows[index].positions
    ]
    # For all heads at once: on CUDA each copy from the host may wait until the encoder is done.
    gathered = hidden.index_select(0, send(torch.tensor(places, dtype=torch.int64), hidden.device))
    sizes = [[len(rows[index].positions) for index in members] for members in groups.values()]
    results: dict[int, torch.Tensor] = {}
    for members, of_rows, part in zip(
        groups.values(), sizes, gathered.split([sum(of_rows) for of_rows in sizes]), strict=True
    ):
        logits = _read(backbone, adapters, rows[members[0]].stack, part).float()
        results.update(zip(members, logits.split(of_rows), strict=True))
    return [results[index] for index in range(len(rows))]


def _language_adapter(adapters: Adapters, stack: RowStack) -> Adapter | None:
    return None if stack.language == IDENTITY else adapters[stack.language]


def _head_key(backbone: Backbone, adapters: Adapters, stack: RowStack) -> tuple[int, int]:
    """Rows of one key share a head (and, for masked LM, an inverse)."""
    if stack.task != IDENTITY:
        return (stack.task, IDENTITY)
    language = _language_adapter(adapters, stack)
    own_head = language is not None and language.head is not None
    if backbone.masked_lm is None and not own_head:
        raise NoMaskedLMHead("this backbone has no masked-LM head: fill-mask and language training need one")
    reads_alone = own_head or (language is not None and language.invertible is not None)
    return (IDENTITY, stack.language if reads_alone else IDENTITY)


def _read(backbone: Backbone, adapters: Adapters, stack: RowStack, hidden: torch.Tensor) -> torch.Tensor:
    """Gathered hidden states (P, D) of rows that share a head -> logits (P, classes)."""
    if stack.task != IDENTITY:
        head = adapters[stack.task].head
        assert isinstance(head, TaggingHead)
        logits: torch.Tensor = head(hidden)
        return logits
    return masked_lm_logits(backbone, _language_adapter(adapters, stack), hidden)


def masked_lm_logits(backbone: Backbone, language: Adapter | None, hidden: torch.Tensor) -> torch.Tensor:
    """Hidden states (P, D) at masked positions -> vocabulary logits (P, V), through the inverse where there is one."""
    head = backbone.masked_lm
    if language is not None and isinstance(language.head, MaskedLMHead):
        head = language.head
    if head is None:
        raise NoMaskedLMHead("this backbone has no masked-LM head: fill-mask and language training need one")
    logits: torch.Tensor = head(hidden, backbone.word_embedding, language.invertible if language else None)
    return logits
