"""Batches through the model, whatever happens to them: for every row an answer or an error of its own.

As many run side by side as the model has lanes; a batch that would leave lanes idle has them all. One that fails is cut
in two, and each half runs once more, down to the request that fails alone: the others get their answers. Owned by the
device thread, which also runs a small forward now and then to see that the device lives.
"""

import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch

from madx.bank import Staged
from madx.errors import GlossaError
from madx.forward import hidden_states
from madx.manifest import Digest
from madx.plan import BARE, Slot

from .batching import BatchLimits, Costs, Waiting, split
from .errors import InternalError
from .logs import where
from .metrics import Metrics
from .model import Model, run_rows
from .readout import RowAnswer
from .residency.device import DeviceMemory
from .residency.places import Lease
from .work import Work

_log = logging.getLogger(__name__)
PULSE_EVERY_S = 10.0
_PULSE_IDS = (2, 3)
_LARGE = 0.25
"""Of what a batch may hold, so much is a large one."""
_NOT_FINITE = "the answer is not finite: an adapter of this text, or the backbone, is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A row that the policy chose, and the request it belongs to."""

    work: Work
    waiting: Waiting


Batch = Sequence[Chosen]
Outcome = RowAnswer | GlossaError
Answers = list[RowAnswer | None]
"""Of a batch's rows, None for each that is not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Batch `number` is over: its answers, or what was raised. `seconds` is None where it has not come to the model."""

    number: int
    result: Answers | BaseException
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Outcomes of a batch's rows, in any order. It cost so much, and that took so many seconds of the whole device."""

    outcomes: Sequence[tuple[Chosen, Outcome]]
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """Until it is over, `leases` keep its adapters on the device, and `slots` in theirs. It has `lanes` of them all."""

    batch: Batch
    leases: Mapping[Digest, Lease]
    slots: ExitStack
    started_s: float
    lanes: int


class Forwards:
    """`beat_s`, since when the device thread or a batch has not gone on, and `is_sound` are read by other threads."""

    def __init__(
        self,
        model: Model,
        adapters: DeviceMemory[Staged],
        *,
        limits: BatchLimits,
        costs: Costs,
        batch_s: float,
        metrics: Metrics,
        post: Callable[[Ran], None],
    ) -> None:
        """`limits` are those of one batch to begin with; it should take `batch_s`. `post` is called in any thread."""
        self._model = model
        self._adapters = adapters
        self._limits = limits
        self._costs = costs
        self._batch_s = batch_s
        self._metrics = metrics
        self._post = post
        self._numbers = itertools.count()
        self._running: dict[int, _Running] = {}
        self._failed_parts: deque[Batch] = deque()
        self._is_halved = False
        self._worked_s = self._beat_s = (
            time.monotonic()
        )  # when a forward last gave a finite answer, and the thread beat
        self._oldest_s = math.inf  # when the first of those that run began
        self.is_sound = True

    @property
    def beat_s(self) -> float:
        return min(self._beat_s, self._oldest_s)

    @property
    def is_running(self) -> bool:
        return bool(self._running)

    @property
    def is_free(self) -> bool:
        """Whether another batch can begin."""
        return sum(running.lanes for running in self._running.values()) < self._model.width

    @property
    def has_failed_parts(self) -> bool:
        return bool(self._failed_parts)

    def failed_part(self) -> Batch:
        """Of a batch that failed, what is to begin next."""
        return self._failed_parts.popleft()

    def limits(self, waiting: float, *, waited_s: float, are_shared: bool) -> BatchLimits:
        """Of the next batch, where rows of cost `waiting` wait, the first for `waited_s`; shorter where keys share.

        While nothing runs it is for all lanes. Else it is for one, with no more than its part of what waits, so that
        the lanes which come to be free next have some too.
        """
        limits = self._limits.shared() if are_shared else self._limits.for_wait(waited_s / self._batch_s)
        lanes = self._model.width
        return limits.part(waiting / lanes) if self._running else limits.times(lanes)

    def begin(self, batch: Batch) -> None:
        """Its parts' `Ran` are posted once they are over. What is for the whole device runs before this returns."""
        width = self._model.width
        parts = [batch] if self._running else _parts(batch, width)
        for part in parts:
            self._start(part, lanes=width if len(parts) == 1 and not self._running else 1)

    def _start(self, batch: Batch, *, lanes: int) -> None:
        needed = {
            version.manifest_digest: chosen.work.loads[version.manifest_digest].result()
            for chosen in batch
            for version in chosen.work.rows[chosen.waiting.row].versions
        }
        self._metrics.batch_rows.observe(len(batch))
        self._metrics.batch_tokens.observe(sum(chosen.waiting.tokens for chosen in batch))
        self._metrics.batch_adapters.observe(len(needed))
        number, stack = next(self._numbers), ExitStack()
        running = _Running(batch=batch, leases=needed, slots=stack, started_s=time.monotonic(), lanes=lanes)
        self._running[number] = running
        self._see_oldest()
        try:
            slots = stack.enter_context(self._adapters.slots_of(needed))
        except Exception as error:  # noqa: BLE001 - any failure of a batch is answered, and the next one runs
            self._post(Ran(number=number, result=error))
            return
        compute = partial(self._computed, number, batch, slots)
        if self._model.lanes is None or lanes == self._model.width:
            self._post(compute())
        else:
            self._model.lanes.submit(compute).add_done_callback(lambda done: self._post(done.result()))

    def _computed(self, number: int, batch: Batch, slots: Mapping[Digest, Slot]) -> Ran:
        """In a lane, or in the device thread."""
        started_s = time.monotonic()
        result: Answers | BaseException
        try:
            result = run_rows(self._model, [chosen.work.rows[chosen.waiting.row] for chosen in batch], slots)
        except BaseException as error:  # noqa: BLE001 - the device thread raises what it does not answer
            result = error
        return Ran(number=number, result=result, seconds=time.monotonic() - started_s)

    def end(self, ran: Ran) -> Ended:
        """Without outcomes where a batch failed and runs once more in parts. Raises what is no `Exception`."""
        running = self._running.pop(ran.number)
        running.slots.close()
        self._see_oldest()
        self.beat()
        if isinstance(ran.result, BaseException):
            return Ended(outcomes=self._failed(running.batch, ran.result, is_computed=ran.seconds is not None))
        assert ran.seconds is not None
        return self._succeeded(running, ran.result, ran.seconds)

    def _succeeded(self, running: _Running, answers: Answers, seconds: float) -> Ended:
        batch = running.batch
        self._metrics.batch_seconds.observe(seconds)
        if any(answer is not None for answer in answers):
            self._worked_s, self.is_sound = self._beat_s, True
        if running.lanes == 1:
            self._pace(self._costs.of_batch(chosen.waiting for chosen in batch), seconds)
        for work in {chosen.work for chosen in batch}:
            work.ran(running.started_s, seconds)
        broken = [chosen for chosen, answer in zip(batch, answers, strict=True) if answer is None]
        for work in dict.fromkeys(chosen.work for chosen in broken):
            _log_damage([chosen for chosen in broken if chosen.work is work])
        outcomes: list[Outcome] = [InternalError(_NOT_FINITE) if answer is None else answer for answer in answers]
        return Ended(
            outcomes=list(zip(batch, outcomes, strict=True)),
            cost=sum(chosen.waiting.cost for chosen in batch),
            seconds=seconds * running.lanes / self._model.width,
        )

    def _failed(self, batch: Batch, error: BaseException, *, is_computed: bool) -> list[tuple[Chosen, Outcome]]:
        if not isinstance(error, Exception):
            raise error
        answer = error if isinstance(error, GlossaError) else self._told(error, batch)
        parts = _halves(batch) if isinstance(error, torch.OutOfMemoryError) else _by_request(batch)
        if isinstance(error, torch.OutOfMemoryError) and is_computed:
            self._fit_into_memory([chosen.waiting for chosen in batch])
        error.with_traceback(None)  # its frames hold the adapters' leases
        if len(parts) < 2:
            return [(chosen, answer) for chosen in batch]
        self._failed_parts.extendleft(reversed(parts))
        return []

    def _told(self, cause: Exception, batch: Batch) -> InternalError:
        self._metrics.batch_failures.inc()
        _log.error("a forward failed: %s", where(cause), extra=_said_of(batch))
        return InternalError("the server failed on this request; it may be tried again")

    def _see_oldest(self) -> None:
        self._oldest_s = min((running.started_s for running in self._running.values()), default=math.inf)

    def beat(self) -> None:
        """The device thread goes on."""
        self._beat_s = time.monotonic()

    def pulse(self) -> None:
        """A bare row, if no forward has come to its end for a while. Says in `is_sound` whether the device computes."""
        if time.monotonic() - self._worked_s < PULSE_EVERY_S:
            return
        self.beat()
        self.is_sound = self._computes()
        self.beat()
        self._worked_s = self._beat_s

    def _computes(self) -> bool:
        try:
            with torch.inference_mode():
                hidden, _ = hidden_states(self._model.loaded.backbone, self._model.bank, [_PULSE_IDS], [BARE])
            if bool(hidden.isfinite().all()):
                return True
            _log.error("the backbone's output is not finite")
        except Exception as error:  # noqa: BLE001 - whatever it is, the server is told to be dead
            _log.error("a row that the server computes to see that it lives failed: %s", where(error))
        return False

    def _pace(self, cost: float, seconds: float) -> None:
        limit = self._costs.paced(self._limits.cost, cost=cost, seconds=seconds, within_s=self._batch_s)
        self._limits = replace(self._limits, cost=limit)

    def _fit_into_memory(self, rows: Sequence[Waiting]) -> None:
        """These were too many at once. A row alone was not, nor a batch much smaller than others: there the device is
        full of something else. Once, for the same reason.
        """
        if self._is_halved or len(rows) < 2:
            return
        tokens, masked = sum(row.tokens for row in rows), sum(row.masked for row in rows)
        limits = self._limits
        if tokens >= _LARGE * min(limits.tokens, limits.cost):
            limits = replace(limits, tokens=max(1, min(tokens, limits.tokens) // 2))
        if masked >= _LARGE * limits.masked:
            limits = replace(limits, masked=max(1, min(masked, limits.masked) // 2))
        if limits == self._limits:
            return
        self._is_halved, self._limits = True, limits
        _log.warning(
            "the device ran out of memory: batches hold at most %d tokens and %d masks from now on; lower "
            "GLOSSA_BATCH_TOKENS or GLOSSA_ADAPTER_BYTES",
            limits.tokens,
            limits.masked,
        )


def _log_damage(rows: Sequence[Chosen]) -> None:
    """Rows of one request. Whether the backbone is damaged, `pulse` finds out: such answers do not put it off."""
    versions = [version for chosen in rows for version in chosen.work.rows[chosen.waiting.row].versions]
    through = ", ".join(sorted({version.reference for version in versions})) or "the backbone alone"
    _log.error("answers of %d texts are not finite; they ran through %s", len(rows), through, extra=_said_of(rows))


def _said_of(rows: Sequence[Chosen]) -> dict[str, dict[str, str]]:
    """The log's fields of a line about these rows: the request, once they are of one alone."""
    ids = {chosen.work.request_id for chosen in rows}
    return {"fields": {"request_id": ids.pop()}} if len(ids) == 1 else {}


def _parts(batch: Batch, most: int) -> list[Batch]:
    """What of a batch runs side by side."""
    chosen_of = {(chosen.waiting.work, chosen.waiting.row): chosen for chosen in batch}
    parts = split([chosen.waiting for chosen in batch], most)
    return [[chosen_of[waiting.work, waiting.row] for waiting in part] for part in parts]


def _halves(batch: Sequence[Chosen]) -> list[Sequence[Chosen]]:
    middle = len(batch) // 2
    return [part for part in (batch[:middle], batch[middle:]) if part]


def _by_request(batch: Sequence[Chosen]) -> list[Sequence[Chosen]]:
    """In two parts of whole requests, or in one where there is only one request."""
    numbers = list(dict.fromkeys(chosen.work.number for chosen in batch))
    first = set(numbers[: len(numbers) // 2])
    parts = ([chosen for chosen in batch if (chosen.work.number in first) is said] for said in (True, False))
    return [part for part in parts if part]
