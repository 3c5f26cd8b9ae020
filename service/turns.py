"""The device thread's loop: messages in, batches through the forward, answers out. One `turn` fits on a screen.

Everything that reaches the thread comes through its inbox, and every request that does is told its outcome exactly
once: its result, a domain error, or, when the loop ends, that news.
"""

import logging
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from madx.errors import GlossaError

from .batching import Waiting, choose
from .errors import AdapterLoadFailed, InternalError
from .logs import where
from .metrics import Metrics
from .model import Model, Outcome, run_rows
from .residency import Residency
from .work import Done, Work

_log = logging.getLogger(__name__)
_IDLE_BEAT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    queue_tokens: int
    batch_tokens: int
    adapter_bytes: int
    loaders: int
    stuck_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """The client left, or the deadline passed."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One of the adapters that the request waits for has come, or will not."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    pass


Message = Work | Loaded | Withdrawn | Stop


Inbox = queue.SimpleQueue[Message]


class Turns:
    """Owned by the device thread; only `beat_s`, the start of the latest turn, is read by others."""

    def __init__(
        self,
        model: Model,
        inbox: Inbox,
        *,
        limits: Limits,
        tell: Callable[[Work, Done | GlossaError], None],
        metrics: Metrics,
    ) -> None:
        """`tell` hands an outcome to the one who waits for it."""
        self._model = model
        self._inbox = inbox
        self._limits = limits
        self._tell = tell
        self._metrics = metrics
        self._residency = Residency(
            model.bank,
            model.loaded.config,
            budget_bytes=limits.adapter_bytes,
            item_bytes=model.item_bytes,
            metrics=metrics,
        )
        self._works: dict[int, Work] = {}
        self._pending: list[Waiting] = []
        self.beat_s = time.monotonic()

    def turn(self) -> bool:
        """Policy, compute, reply. False once the engine is to stop."""
        self.beat_s = time.monotonic()
        if not self._receive():
            return False
        batch = choose(
            self._pending,
            budget_tokens=self._limits.batch_tokens,
            budget_bytes=self._limits.adapter_bytes,
            adapter_bytes=self._residency.sizes,
        )
        if batch:
            started_s = time.monotonic()
            outcome = self._compute(batch)
            self._reply(batch, outcome, started_s, time.monotonic() - started_s)
        return True

    def _receive(self) -> bool:
        """Take in all messages, waiting for one if no row can run. False for a stop."""
        wait = not self._pending
        while True:
            try:
                message = self._inbox.get(block=wait, timeout=_IDLE_BEAT_S)
            except queue.Empty:
                return True
            wait = False
            match message:
                case Work():
                    self._accept(message)
                case Loaded():
                    self._queue_if_loaded(message.number)
                case Withdrawn():
                    self._withdraw(message.number)
                case Stop():
                    return False

    def _accept(self, work: Work) -> None:
        self._works[work.number] = work
        for version in work.versions.values():
            self._residency.measure(version)
        loading = [load for load in work.loads.values() if not load.done()]
        for load in loading:
            load.add_done_callback(lambda _: self._inbox.put(Loaded(number=work.number)))
        if not loading:
            self._queue_if_loaded(work.number)

    def _queue_if_loaded(self, number: int) -> None:
        work = self._works.get(number)
        if work is None or work.is_queued or not all(load.done() for load in work.loads.values()):
            return
        failed = next((error for load in work.loads.values() if (error := load.exception()) is not None), None)
        if failed is None:
            work.is_queued = True
            self._pending.extend(work.waiting())
        else:
            assert isinstance(failed, AdapterLoadFailed)  # `HostedAdapters` raises nothing else
            self._answer(work, failed)

    def _compute(self, batch: Sequence[Waiting]) -> Outcome:
        """One forward. A failure is the batch's outcome; the loop goes on."""
        works = [self._works[waiting.work] for waiting in batch]
        rows = [work.rows[waiting.row] for work, waiting in zip(works, batch, strict=True)]
        needed = {
            version.manifest_digest: work.loads[version.manifest_digest].result()
            for work, row in zip(works, rows, strict=True)
            for version in row.versions
        }
        self._metrics.batch_rows.observe(len(rows))
        self._metrics.batch_tokens.observe(sum(waiting.tokens for waiting in batch))
        self._metrics.batch_adapters.observe(len(needed))
        try:
            with self._residency.pinned(needed) as slots:
                return run_rows(self._model, rows, slots)
        except GlossaError as error:
            return error
        except Exception as error:  # noqa: BLE001 - any failure of a forward is answered, and the next one runs
            self._metrics.batch_failures.inc()
            _log.error("a forward failed: %s", where(error))
            return InternalError("the server failed on this batch; the request may be tried again")

    def _reply(self, batch: Sequence[Waiting], outcome: Outcome, started_s: float, seconds: float) -> None:
        works = [self._works[number] for number in dict.fromkeys(waiting.work for waiting in batch)]
        for work in works:
            work.ran(started_s, seconds)
        if isinstance(outcome, GlossaError):
            for work in works:
                self._answer(work, outcome)
            self._pending = [waiting for waiting in self._pending if waiting.work in self._works]
            return
        ran = {(waiting.work, waiting.row) for waiting in batch}
        self._pending = [waiting for waiting in self._pending if (waiting.work, waiting.row) not in ran]
        for waiting, answer in zip(batch, outcome, strict=True):
            work = self._works[waiting.work]
            work.answers[waiting.row] = answer
            done = work.done()
            if done is not None:
                self._answer(work, done)

    def _answer(self, work: Work, outcome: Done | GlossaError) -> None:
        """The only way out of `_works` but for a withdrawal, so that nothing is answered twice."""
        del self._works[work.number]
        self._tell(work, outcome)

    def _withdraw(self, number: int) -> None:
        if self._works.pop(number, None) is not None:
            self._pending = [waiting for waiting in self._pending if waiting.work != number]

    def end(self, reason: GlossaError) -> None:
        """Tell everybody who is still here. The inbox is closed by then."""
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Work):
                self._works[message.number] = message
        for work in list(self._works.values()):
            self._answer(work, reason)
