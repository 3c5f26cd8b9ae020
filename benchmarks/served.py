"""Our side of a race: the model as the server opens it, adapters in its bank, batches as `forming` makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from madx.adapter import Adapter
from madx.config import BackboneConfig
from madx.forward import Row
from madx.plan import BARE, RowStack, Slot
from madx.precision import PrecisionName, choose_precision
from service.model import Model, open_model
from service.settings import Settings

from .forming import Forming, StackOf
from .rounds import Step, timed
from .shapes import random_language, random_task
from .traffic import Ask, tokens_of

IN_A_LANE = 2
"""Batches of one step: few, so that sides take turns often; and no lane has to wait for the others after each."""

Dtype = PrecisionName | Literal["auto"]
"""As GLOSSA_DTYPE names it."""


def precision_of(dtype: Dtype, device: str) -> PrecisionName:
    """What `auto` is on that device."""
    return choose_precision(dtype, torch.device(device)).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Random ones of the published sizes, by rank; the same for the same shape."""

    languages: Sequence[Adapter]
    tasks: Sequence[Adapter]


def random_adapters(shape: BackboneConfig, *, languages: int, tasks: int) -> Adapters:
    return Adapters(
        languages=[random_language(shape, rank) for rank in range(languages)],
        tasks=[random_task(shape, rank) for rank in range(tasks)],
    )


def bare(_ask: Ask) -> RowStack:
    return BARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """An open model and the slots of its adapters, by rank."""

    model: Model
    languages: tuple[Slot, ...]
    tasks: tuple[Slot, ...]

    def one_stack(self, _ask: Ask) -> RowStack:
        """The same for every row."""
        return RowStack(language=self.languages[0], task=self.tasks[0])

    def own_task(self, ask: Ask) -> RowStack:
        """Languages in turn, and a task adapter that none of the last rows had."""
        language, task = ask.number % len(self.languages), ask.number % len(self.tasks)
        return RowStack(language=self.languages[language], task=self.tasks[task])

    def asked(self, ask: Ask) -> RowStack:
        return RowStack(language=self.languages[ask.language], task=self.tasks[ask.task])

    def logits(self, rows: Sequence[Ask], stack_of: StackOf) -> list[torch.Tensor]:
        """One batch -> each row's logits (inner positions, labels), on the device. Of bare rows none are read."""
        return self.model.infer([_row(ask, stack_of(ask)) for ask in rows])

    def vocabulary_logits(self, rows: Sequence[Ask], positions: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Of one batch of bare rows: each one's masked-LM logits (P, V) at its `positions`."""
        return self.model.infer(
            [Row(input_ids=ask.ids, positions=tuple(of_row)) for ask, of_row in zip(rows, positions, strict=True)]
        )


def _row(ask: Ask, stack: RowStack) -> Row:
    positions = () if stack == BARE else tuple(range(1, len(ask.ids) - 1))
    return Row(input_ids=ask.ids, positions=positions, stack=stack)


def open_model_of(folder: Path, *, device: str, dtype: str) -> Model:
    """The checkpoint in `folder`; `dtype` as GLOSSA_DTYPE names it."""
    settings: dict[str, Any] = {"home": folder, "backbone": str(folder), "device": device, "dtype": dtype}
    return open_model(Settings(**settings))


def slot_of(model: Model, adapter: Adapter) -> Slot:
    """An adapter's place in the model's bank, where it is from now on."""
    return model.bank.add(model.bank.stage(adapter))


def open_served(folder: Path, adapters: Adapters, *, device: str, dtype: str) -> Served:
    model = open_model_of(folder, device=device, dtype=dtype)
    return Served(
        model=model,
        languages=tuple(slot_of(model, adapter) for adapter in adapters.languages),
        tasks=tuple(slot_of(model, adapter) for adapter in adapters.tasks),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """One way to run rows through a served model."""

    served: Served
    stack_of: StackOf
    forming: Forming

    def steps(self, rows: Sequence[Ask]) -> list[Step]:
        """A step for each batch, or for as many as run side by side one and then another in every lane."""
        batches = self.forming(rows, self.stack_of)
        if self.served.model.lanes is None:
            return [Step(tokens=tokens_of(batch), run=partial(timed, partial(self._run, batch))) for batch in batches]
        at_once = IN_A_LANE * self.served.model.width
        together = [batches[start : start + at_once] for start in range(0, len(batches), at_once)]
        return [
            Step(tokens=sum(map(tokens_of, step)), run=partial(timed, partial(self._run_in_lanes, step)))
            for step in together
        ]

    def batch_tokens(self, rows: Sequence[Ask]) -> float:
        """Of a batch of `rows`, on average."""
        return tokens_of(rows) / len(self.forming(rows, self.stack_of))

    def _run(self, batch: Sequence[Ask]) -> None:
        self.served.logits(batch, self.stack_of)
        if self.served.model.loaded.backbone.device.type == "cuda":
            torch.cuda.synchronize()

    def _run_in_lanes(self, batches: Sequence[Sequence[Ask]]) -> None:
        lanes = self.served.model.lanes
        assert lanes is not None
        for done in [lanes.submit(partial(self._run, batch)) for batch in batches]:
            done.result()
