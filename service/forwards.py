"""One batch through the model, whatever happens to it: for every row an answer or an error of its own.

A batch that fails is cut in two, and each half runs once more, down to the request that fails alone: the others get
their answers. Owned by the device thread, which also runs a small forward now and then to see that the device lives.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from madx.bank import Staged
from madx.errors import GlossaError
from madx.forward import hidden_states
from madx.manifest import Digest
from madx.plan import BARE, Slot

from .batching import BatchLimits, Costs, Waiting
from .errors import InternalError
from .logs import where
from .metrics import Metrics
from .model import Model, run_rows
from .readout import RowAnswer
from .residency.device import DeviceMemory
from .work import Work

_log = logging.getLogger(__name__)
PULSE_EVERY_S = 10.0
_PULSE_IDS = (2, 3)
_LARGE = 0.25
"""Of what a batch may hold, so much is a large one; while several keys wait, batches take half."""
_NOT_FINITE = "the answer is not finite: an adapter of this text, or the backbone, is damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A row that the policy chose, and the request it belongs to."""

    work: Work
    waiting: Waiting


Outcome = RowAnswer | GlossaError


class Forwards:
    """`beat_s`, when the device thread last went on, and `is_sound` are read by other threads too."""

    def __init__(
        self,
        model: Model,
        adapters: DeviceMemory[Staged],
        *,
        limits: BatchLimits,
        costs: Costs,
        batch_s: float,
        metrics: Metrics,
    ) -> None:
        """`limits` are those to begin with; a batch should take `batch_s`."""
        self._model = model
        self._adapters = adapters
        self._costs = costs
        self._metrics = metrics
        self._batch_s = batch_s
        self._is_halved = False
        self._worked_s = time.monotonic()  # when a forward last gave a finite answer
        self.limits = limits
        self.beat_s = time.monotonic()
        self.is_sound = True

    def run(self, batch: Sequence[Chosen]) -> list[tuple[Chosen, Outcome]]:
        """In any order, each row of `batch` once."""
        error: GlossaError
        try:
            return list(zip(batch, self._forward(batch), strict=True))
        except torch.OutOfMemoryError as cause:
            error, parts = self._failed(cause, batch), _halves(batch)
        except GlossaError as cause:
            error, parts = cause.with_traceback(None), _by_request(batch)  # its frames would hold the adapters' leases
        except Exception as cause:  # noqa: BLE001 - any failure of a forward is answered, and the next one runs
            error, parts = self._failed(cause, batch), _by_request(batch)
        if len(parts) < 2:
            return [(chosen, error) for chosen in batch]
        return [ran for part in parts for ran in self.run(part)]

    def beat(self) -> None:
        """The device thread goes on."""
        self.beat_s = time.monotonic()

    def pulse(self) -> None:
        """A bare row, if no forward has come to its end for a while. Says in `is_sound` whether the device computes."""
        now_s = time.monotonic()
        if now_s - self._worked_s < PULSE_EVERY_S:
            return
        self.beat_s = now_s
        self.is_sound = self._computes()
        self._worked_s = self.beat_s = time.monotonic()

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

    def _forward(self, batch: Sequence[Chosen]) -> list[Outcome]:
        needed = {
            version.manifest_digest: chosen.work.loads[version.manifest_digest].result()
            for chosen in batch
            for version in chosen.work.rows[chosen.waiting.row].versions
        }
        self._metrics.batch_rows.observe(len(batch))
        self._metrics.batch_tokens.observe(sum(chosen.waiting.tokens for chosen in batch))
        self._metrics.batch_adapters.observe(len(needed))
        started_s = self.beat_s = time.monotonic()
        try:
            with self._adapters.slots_of(needed) as slots:
                answers = self._computed(batch, slots)
        finally:
            self.beat_s = time.monotonic()
        seconds = self.beat_s - started_s
        self._metrics.batch_seconds.observe(seconds)
        if any(answer is not None for answer in answers):
            self._worked_s, self.is_sound = self.beat_s, True
        self._pace(self._costs.of_batch(chosen.waiting for chosen in batch), seconds)
        for work in {chosen.work for chosen in batch}:
            work.ran(started_s, seconds)
        broken = [chosen for chosen, answer in zip(batch, answers, strict=True) if answer is None]
        for work in dict.fromkeys(chosen.work for chosen in broken):
            _log_damage([chosen for chosen in broken if chosen.work is work])
        return [InternalError(_NOT_FINITE) if answer is None else answer for answer in answers]

    def _computed(self, batch: Sequence[Chosen], slots: Mapping[Digest, Slot]) -> list[RowAnswer | None]:
        try:
            return run_rows(self._model, [chosen.work.rows[chosen.waiting.row] for chosen in batch], slots)
        except torch.OutOfMemoryError:
            self._fit_into_memory([chosen.waiting for chosen in batch])
            raise

    def _pace(self, cost: float, seconds: float) -> None:
        limit = self._costs.paced(self.limits.cost, cost=cost, seconds=seconds, within_s=self._batch_s)
        self.limits = replace(self.limits, cost=limit)

    def _failed(self, cause: Exception, batch: Sequence[Chosen]) -> InternalError:
        self._metrics.batch_failures.inc()
        _log.error("a forward failed: %s", where(cause), extra=_said_of(batch))
        return InternalError("the server failed on this request; it may be tried again")

    def _fit_into_memory(self, rows: Sequence[Waiting]) -> None:
        """These were too many at once. A row alone was not, nor a batch much smaller than others: there the device is
        full of something else. Once, for the same reason.
        """
        if self._is_halved or len(rows) < 2:
            return
        tokens, masked = sum(row.tokens for row in rows), sum(row.masked for row in rows)
        limits = self.limits
        if tokens >= _LARGE * min(limits.tokens, limits.cost):
            limits = replace(limits, tokens=max(1, min(tokens, limits.tokens) // 2))
        if masked >= _LARGE * limits.masked:
            limits = replace(limits, masked=max(1, min(masked, limits.masked) // 2))
        if limits == self.limits:
            return
        self._is_halved, self.limits = True, limits
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


def _halves(batch: Sequence[Chosen]) -> list[Sequence[Chosen]]:
    middle = len(batch) // 2
    return [part for part in (batch[:middle], batch[middle:]) if part]


def _by_request(batch: Sequence[Chosen]) -> list[Sequence[Chosen]]:
    """In two parts of whole requests, or in one where there is only one request."""
    numbers = list(dict.fromkeys(chosen.work.number for chosen in batch))
    first = set(numbers[: len(numbers) // 2])
    parts = ([chosen for chosen in batch if (chosen.work.number in first) is said] for said in (True, False))
    return [part for part in parts if part]
