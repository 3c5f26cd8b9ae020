"""What the event loop hands to the device thread and gets back: one accepted request is one `Work`."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from madx.adapter import Adapter
from madx.errors import GlossaError
from madx.manifest import Digest
from registry.values import Version

from .batching import Waiting
from .readout import Readout, RowAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRow:
    """Token ids of one row, the places its head reads, its stack as versions, and what of the logits to answer."""

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    language: Version | None
    task: Version | None
    leave_out: tuple[int, ...]
    readout: Readout

    @property
    def versions(self) -> tuple[Version, ...]:
        return tuple(version for version in (self.language, self.task) if version is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A request's answers, row by row. `queue_s` ends with its first forward; `inference_s` sums its forwards."""

    answers: tuple[RowAnswer, ...]
    queue_s: float
    inference_s: float
    tokens: int


@dataclass(slots=True, kw_only=True, eq=False)
class Work:
    """One accepted request on its way. Made by the event loop's thread, then changed by the device thread alone.

    `loads` has the adapters its rows need, and holds them, so that an eviction cannot take them away again.
    """

    number: int
    rows: Sequence[AskedRow]
    key: str
    deadline_s: float
    future: "asyncio.Future[Done]"
    accepted_s: float
    versions: Mapping[Digest, Version]
    loads: "Mapping[Digest, Future[Adapter]]"
    is_queued: bool = False
    answers: dict[int, RowAnswer] = field(default_factory=dict)
    first_run_s: float | None = None
    inference_s: float = 0.0

    def waiting(self) -> list[Waiting]:
        """Its rows, as the batch policy sees them."""
        waiting: list[Waiting] = []
        before = 0
        for index, row in enumerate(self.rows):
            tokens = len(row.input_ids)
            waiting.append(
                Waiting(
                    work=self.number,
                    row=index,
                    tokens=tokens,
                    arrived_s=self.accepted_s,
                    tokens_before=before,
                    adapters=tuple(version.manifest_digest for version in row.versions),
                )
            )
            before += tokens
        return waiting

    def ran(self, started_s: float, seconds: float) -> None:
        if self.first_run_s is None:
            self.first_run_s = started_s
        self.inference_s += seconds

    def done(self) -> Done | None:
        """The result, once every row is answered."""
        if len(self.answers) < len(self.rows):
            return None
        first_run_s = self.accepted_s if self.first_run_s is None else self.first_run_s
        return Done(
            answers=tuple(self.answers[index] for index in range(len(self.rows))),
            queue_s=first_run_s - self.accepted_s,
            inference_s=self.inference_s,
            tokens=sum(len(row.input_ids) for row in self.rows),
        )

    def settle(self, outcome: Done | GlossaError) -> None:
        """In the event loop's thread. A client that left has cancelled its future: then nobody is told."""
        if self.future.done():
            return
        if isinstance(outcome, Done):
            self.future.set_result(outcome)
        else:
            self.future.set_exception(outcome)
