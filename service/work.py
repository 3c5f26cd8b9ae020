"""What the event loop hands to the device thread and gets back: one accepted request is one `Work`."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from madx.errors import GlossaError
from madx.manifest import Digest
from registry.values import Version

from .batching import Costs, Waiting
from .errors import DeadlineExceeded
from .readout import Readout, RowAnswer
from .residency.places import Lease


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

    @property
    def masked(self) -> int:
        """Positions that the masked-LM head reads, with a class for each piece of the vocabulary."""
        return len(self.positions) if self.task is None else 0


def waiting_rows(
    number: int, rows: Sequence[AskedRow], *, key: str, accepted_s: float, deadline_s: float, costs: Costs
) -> list[Waiting]:
    """The rows of request `number` as the batch policy sees them.

    A row's rank is the moment at which it would begin if the request had the device for itself, so that the later rows
    of a large one do not hold up small ones.
    """
    waiting: list[Waiting] = []
    rank_s = accepted_s
    for index, row in enumerate(rows):
        cost = costs.of_row(len(row.input_ids), row.masked)
        waiting.append(
            Waiting(
                work=number,
                row=index,
                tokens=len(row.input_ids),
                cost=cost,
                rank_s=rank_s,
                masked=row.masked,
                key=key,
                deadline_s=deadline_s,
                language=None if row.language is None else row.language.manifest_digest,
                task=None if row.task is None else row.task.manifest_digest,
            )
        )
        rank_s += cost * costs.seconds_per_token
    return waiting


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

    `request_id` is what the log knows it by. `loads` has the leases of the adapters its rows need; as long as they are
    held, nothing evicts them. `queued_s` is when all of them were there, and its rows came into line.
    """

    number: int
    request_id: str
    rows: Sequence[AskedRow]
    future: "asyncio.Future[Done]"
    accepted_s: float
    loads: "Mapping[Digest, Future[Lease]]"
    waiting: Sequence[Waiting]
    queued_s: float | None = None
    answers: dict[int, RowAnswer] = field(default_factory=dict)
    first_run_s: float | None = None
    inference_s: float = 0.0

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


def too_late() -> DeadlineExceeded:
    """What an accepted request is told whose deadline has passed, whoever notices first."""
    return DeadlineExceeded("not answered in time; send less at once, or try again later")
