"""The engine as the event loop sees it: `start`, `submit`, `drain`, `stop`, and a device thread that runs `turns`.

A request is accepted or refused at once; what was accepted is answered exactly once through its future.
"""

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from madx.errors import GlossaError
from madx.loading import LoadedBackbone

from .admission import Admission
from .batching import BatchLimits, Costs
from .calibration import fit, measure
from .errors import DeadlineExceeded, Draining, NotReady
from .forwards import Forwards
from .logs import REQUEST_ID, where
from .metrics import Metrics
from .model import Model
from .residency.tiers import Residency
from .turns import Inbox, Reclaim, Stop, Told, Turns, Withdrawn
from .work import AskedRow, Done, Work, too_late, waiting_rows

_log = logging.getLogger(__name__)
_LOGITS_BYTES = 256 << 20
"""Of a batch's masked positions, each with a float32 for every piece of the vocabulary."""
_DEAD_S = 5.0
"""For so long a device thread is waited for that nobody waits for an answer from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`batch_s` bounds a batch's time, `batch_tokens` its memory; the queue is bounded by the like two."""

    queue_tokens: int
    queue_s: float
    batch_tokens: int
    batch_s: float
    stuck_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What the device thread has made before it serves."""

    model: Model
    residency: Residency
    costs: Costs
    limits: BatchLimits


class Engine:
    """All methods belong to one event loop, but `_run` and `_tell` to the device thread."""

    def __init__(
        self,
        *,
        open_model: Callable[[], Model],
        open_residency: Callable[[Model, Callable[[], None]], Residency],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """`open_residency` gets what makes an idle device thread take a turn."""
        self._open_model = open_model
        self._open_residency = open_residency
        self._limits = limits
        self._metrics = metrics
        self._numbers = itertools.count()
        self._inbox: Inbox = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards `_closed` against a request that comes while the thread ends
        self._closed: GlossaError | None = NotReady("the engine has not started")
        self._opened: _Opened | None = None
        self._forwards: Forwards | None = None
        self._admission: Admission | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepted: dict[int, Work] = {}
        self._is_idle = asyncio.Event()
        self._has_freed = asyncio.Event()  # set and replaced whenever a request is over

    async def start(self) -> LoadedBackbone:
        """Load the backbone in the device thread and begin to serve. Raises what loading raises."""
        self._loop = asyncio.get_running_loop()
        opening: Future[_Opened] = Future()
        self._thread = threading.Thread(target=self._run, args=(opening,), name="glossa-device", daemon=True)
        self._thread.start()
        opened = await asyncio.wrap_future(opening)
        self._admission = Admission(
            opened.costs,
            queue_tokens=self._limits.queue_tokens,
            queue_s=self._limits.queue_s,
            batch_tokens=opened.limits.tokens,
            batch_masked=opened.limits.masked,
            metrics=self._metrics,
        )
        self._opened = opened
        with self._lock:
            if isinstance(self._closed, NotReady) and self._thread.is_alive():
                self._closed = None
        return opened.model.loaded

    @property
    def residency(self) -> Residency:
        """Once the engine has started."""
        assert self._opened is not None
        return self._opened.residency

    @property
    def costs(self) -> Costs:
        """As calibrated at the start, once the engine has started."""
        assert self._opened is not None
        return self._opened.costs

    @property
    def is_alive(self) -> bool:
        """False when the device thread has died, hangs, or its latest forward of a bare row gave nothing sound.

        An idle device thread runs such a forward every few seconds.
        """
        if self._thread is None or self._forwards is None or not self._thread.is_alive():
            return False
        return self._forwards.is_sound and time.monotonic() - self._forwards.beat_s < self._limits.stuck_after_s

    @property
    def is_ready(self) -> bool:
        return self._closed is None and self.is_alive

    @property
    def is_draining(self) -> bool:
        return isinstance(self._closed, Draining)

    def has_room(self, key: str) -> None:
        """A cheap look before a request is prepared. Raises what `submit` would raise for hardly any row of `key`."""
        self._check_open().check_room(key)

    def fits(self, rows: Sequence[AskedRow], *, key: str) -> bool:
        """Whether `submit` would find room now. Raises only what refuses any request."""
        return self._check_open().fits(rows, key)

    async def freed(self) -> None:
        """Until a request that was accepted is over."""
        await self._has_freed.wait()

    def submit(self, rows: Sequence[AskedRow], *, key: str, deadline_s: float) -> "asyncio.Future[Done]":
        """Accept a request, or refuse it at once. Cancelling the future takes it out of the queue.

        `key` is the id of the key that asks, empty where there are none; `deadline_s` is a moment of `time.monotonic`,
        at which the future raises `DeadlineExceeded`.
        """
        admission = self._check_open()
        cost = admission.admit(rows, key)
        try:
            work = self._work(rows, key, deadline_s)
            self._post(work)
        except BaseException:  # a load's thread that cannot be started, say
            admission.release(cost, key)
            raise
        self._accepted[work.number] = work
        assert self._loop is not None
        patience_s = max(0.0, deadline_s - time.monotonic())
        timer = self._loop.call_later(patience_s, lambda: work.settle(too_late()))

        def finished(future: "asyncio.Future[Done]") -> None:
            timer.cancel()
            if _is_expired(future, deadline_s):
                self._metrics.expired.inc()
            admission.release(cost, key)
            self._has_freed.set()
            self._has_freed = asyncio.Event()
            self._forget(work)

        work.future.add_done_callback(finished)
        return work.future

    def _check_open(self) -> Admission:
        if self._closed is not None:
            raise type(self._closed)(str(self._closed))
        assert self._admission is not None
        return self._admission

    def _work(self, rows: Sequence[AskedRow], key: str, deadline_s: float) -> Work:
        """Its adapters' loads begin here, while the device may be busy."""
        assert self._loop is not None
        versions = {version.manifest_digest: version for row in rows for version in row.versions}
        number, accepted_s = next(self._numbers), time.monotonic()
        return Work(
            number=number,
            rows=rows,
            request_id=REQUEST_ID.get(),
            future=self._loop.create_future(),
            accepted_s=accepted_s,
            loads={digest: self.residency.want(version) for digest, version in versions.items()},
            waiting=waiting_rows(number, rows, key=key, accepted_s=accepted_s, deadline_s=deadline_s, costs=self.costs),
        )

    def _post(self, work: Work) -> None:
        with self._lock:
            self._check_open()
            self._inbox.put(work)

    def _forget(self, work: Work) -> None:
        """The device thread is told of what it has not answered itself."""
        if self._accepted.pop(work.number, None) is not None:
            self._inbox.put(Withdrawn(number=work.number))
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if self._closed is not None and not self._accepted:
            self._is_idle.set()

    async def drain(self, within_s: float) -> None:
        """Refuse new requests with `Draining` and answer all others: what is not done in time, with that too."""
        self._close()
        self._tell_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_idle.wait()
        for work in list(self._accepted.values()):
            work.settle(_shutting_down())

    async def stop(self) -> None:
        """Refuse new requests, end the batch that runs, answer everything that waits."""
        self._close()
        self._inbox.put(Stop())
        if self._thread is not None:
            patience_s = self._limits.stuck_after_s if self._accepted else _DEAD_S
            await asyncio.to_thread(self._thread.join, patience_s)
        if self._opened is not None:
            self._opened.residency.close()

    def _close(self) -> None:
        with self._lock:
            if not isinstance(self._closed, NotReady) or self._opened is None:
                self._closed = _shutting_down()

    def _run(self, opening: "Future[_Opened]") -> None:
        """The device thread."""
        opening.set_running_or_notify_cancel()  # from here on, a start that is given up cannot make `set_result` raise
        try:
            opened = self._open()
            turns = self._turns(opened)
        except BaseException as error:  # noqa: BLE001 - `start` waits for this, whatever it is
            opening.set_exception(error)
            return
        opening.set_result(opened)
        reason: GlossaError = _shutting_down()
        try:
            while turns.turn():
                pass
        except BaseException as error:  # noqa: BLE001 - whatever ends the loop must not leave clients waiting
            _log.error("the engine died: %s", where(error))
            reason = NotReady("the engine died; restart the server")
        finally:
            with self._lock:
                self._closed = reason
            turns.end(reason)

    def _open(self) -> _Opened:
        model = self._open_model()
        costs = fit(measure(model), model.loaded.config)
        self._report(costs)
        residency = self._open_residency(model, lambda: self._inbox.put(Reclaim()))
        limits = BatchLimits(
            tokens=self._limits.batch_tokens,
            masked=max(1, _LOGITS_BYTES // (4 * model.loaded.config.vocab_size)),
            size_bytes=residency.device.limit_bytes,
            cost=costs.within(self._limits.batch_s),
        )
        return _Opened(model=model, residency=residency, costs=costs, limits=limits)

    def _turns(self, opened: _Opened) -> Turns:
        adapters = opened.residency.device
        self._forwards = Forwards(
            opened.model,
            adapters,
            limits=opened.limits,
            costs=opened.costs,
            batch_s=self._limits.batch_s,
            metrics=self._metrics,
        )
        return Turns(self._forwards, adapters, self._inbox, costs=opened.costs, tell=self._tell, metrics=self._metrics)

    def _report(self, costs: Costs) -> None:
        self._metrics.cost_seconds.set(costs.seconds_per_token)
        parts = {"language": costs.language, "task": costs.task, "masked": costs.masked}
        for part, tokens in parts.items():
            self._metrics.cost_tokens.labels(part=part).set(tokens)
        told = ", ".join(f"{tokens:.1f} for each {part}" for part, tokens in parts.items())
        _log.info("calibrated: %.0f tokens/s; in tokens: %s", 1 / costs.seconds_per_token, told)

    def _tell(self, told: Told) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, told)

    def _settle(self, told: Told) -> None:
        """All of a batch's answers at once."""
        if told.cost and self._admission is not None:
            self._admission.ran(told.cost, told.seconds)
        for work, outcome in told.outcomes:
            self._accepted.pop(work.number, None)
            work.settle(outcome)


def _is_expired(future: "asyncio.Future[Done]", deadline_s: float) -> bool:
    """Whoever noticed: the device thread, the timer, or the caller's own, which cancels the future."""
    if future.cancelled():
        return time.monotonic() >= deadline_s
    return isinstance(future.exception(), DeadlineExceeded)


def _shutting_down() -> Draining:
    return Draining("the server is shutting down; ask another one")
