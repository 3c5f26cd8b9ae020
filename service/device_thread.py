"""The device thread: opens the model, calibrates, and runs `turns` until it is stopped or dies.

`engine` is its other side. Requests come in by `post`, and what became of them goes out by a callback; whatever ends
the thread, everything that was posted is answered.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace

from madx.errors import GlossaError
from madx.lanes import LANE_TOKENS

from .batching import BatchLimits, Costs
from .calibration import fit, measure
from .errors import Draining, NotReady
from .forwards import Forwards
from .logs import where
from .metrics import Metrics
from .model import Model
from .residency.tiers import Residency
from .turns import Inbox, Reclaim, Stop, TurnOutcomes, Turns, Withdrawn
from .work import Work

_log = logging.getLogger(__name__)
_LOGITS_BYTES = 256 << 20
"""Of the masked positions of all batches that run, each with a float32 for every piece of the vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """`batch_tokens` and `batch_s` bound one batch, in memory and in time; `queue_tokens` and `queue_s` all that is
    accepted and not answered yet. The thread is taken for dead when it is `stuck_after_s` in one forward.
    """

    queue_tokens: int
    queue_s: float
    batch_tokens: int
    batch_s: float
    stuck_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the thread has made before it serves. No row with more than `most_masked` masks can run."""

    model: Model
    residency: Residency
    costs: Costs
    limits: BatchLimits
    most_masked: int


class DeviceThread:
    """Its public side belongs to one event loop's thread; all that is private, but the lock's state, to its own."""

    def __init__(
        self,
        *,
        open_model: Callable[[], Model],
        open_residency: Callable[[Model, Callable[[], None]], Residency],
        limits: EngineLimits,
        metrics: Metrics,
        hand_over: Callable[[TurnOutcomes], None],
    ) -> None:
        """`open_residency` gets what makes an idle thread take a turn. `hand_over` is called in the thread."""
        self._open_model = open_model
        self._open_residency = open_residency
        self._limits = limits
        self._metrics = metrics
        self._hand_over = hand_over
        self._inbox: Inbox = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards `_closed` against a request that comes while the thread ends
        self._not_started = NotReady("the engine has not started")
        self._closed: GlossaError | None = self._not_started
        self._forwards: Forwards | None = None
        self._opening: Future[Opened] = Future()
        self._thread = threading.Thread(target=self._run, name="glossa-device", daemon=True)

    def start(self) -> Future[Opened]:
        """Takes requests from when the future is done. It raises what opening raises."""
        self._thread.start()
        return self._opening

    @property
    def closed(self) -> GlossaError | None:
        """Why nothing can be posted; None while it can."""
        return self._closed

    @property
    def is_alive(self) -> bool:
        """False when the thread has died or hangs, or its latest forward gave nothing sound."""
        if self._forwards is None or not self._thread.is_alive():
            return False
        return self._forwards.is_sound and time.monotonic() - self._forwards.beat_s < self._limits.stuck_after_s

    def check_open(self) -> None:
        """Raises why nothing can be posted."""
        if self._closed is not None:
            raise type(self._closed)(str(self._closed))

    def post(self, work: Work) -> None:
        """From here on the request's outcome is handed over, unless it is withdrawn. Raises as `check_open`."""
        with self._lock:
            self.check_open()
            self._inbox.put(work)

    def withdraw(self, number: int) -> None:
        """Of a request that somebody else has answered."""
        self._inbox.put(Withdrawn(number=number))

    def close(self) -> None:
        """Nothing can be posted any more; what was posted runs on."""
        with self._lock:
            if self._closed is None or self._closed is self._not_started:
                self._closed = shutting_down()

    def stop(self) -> None:
        """After the batch that runs, if any; what waits is answered with `Draining`."""
        self.close()
        self._inbox.put(Stop())

    def join(self, within_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(within_s)

    def _run(self) -> None:
        opening = self._opening
        opening.set_running_or_notify_cancel()  # from here on, a start that is given up cannot make `set_result` raise
        try:
            opened = self._open()
            turns = self._turns(opened)
        except BaseException as error:  # noqa: BLE001 - `start` waits for this, whatever it is
            opening.set_exception(error)
            return
        with self._lock:
            if self._closed is self._not_started:
                self._closed = None
        opening.set_result(opened)
        reason: GlossaError = shutting_down()
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

    def _open(self) -> Opened:
        model = self._open_model()
        costs = fit(measure(model), model.loaded.config)
        self._report(costs)
        residency = self._open_residency(model, lambda: self._inbox.put(Reclaim()))
        most_masked = max(1, _LOGITS_BYTES // (4 * model.loaded.config.vocab_size))
        limits = BatchLimits(
            tokens=self._limits.batch_tokens,
            masked=most_masked,
            size_bytes=residency.device.limit_bytes,
            cost=costs.within(self._limits.batch_s),
        )
        return Opened(
            model=model,
            residency=residency,
            costs=costs,
            limits=limits if model.lanes is None else in_lanes(limits, model.lanes.number),
            most_masked=most_masked,
        )

    def _turns(self, opened: Opened) -> Turns:
        adapters, costs, metrics = opened.residency.device, opened.costs, self._metrics
        self._forwards = Forwards(
            opened.model,
            adapters,
            limits=opened.limits,
            costs=costs,
            batch_s=self._limits.batch_s,
            metrics=metrics,
            post=self._inbox.put,
        )
        return Turns(self._forwards, adapters, self._inbox, costs=costs, hand_over=self._hand_over, metrics=metrics)

    def _report(self, costs: Costs) -> None:
        self._metrics.cost_seconds.set(costs.seconds_per_token)
        parts = {"language": costs.language, "task": costs.task, "masked": costs.masked}
        for part, tokens in parts.items():
            self._metrics.cost_tokens.labels(part=part).set(tokens)
        measured = ", ".join(f"{tokens:.1f} for each {part}" for part, tokens in parts.items())
        _log.info("calibrated: %.0f tokens/s; in tokens: %s", 1 / costs.seconds_per_token, measured)


def in_lanes(limits: BatchLimits, lanes: int) -> BatchLimits:
    """What one of the batches may hold that run side by side, from `limits` of one that has the whole device."""
    return replace(
        limits,
        tokens=min(limits.tokens, LANE_TOKENS),
        masked=max(1, limits.masked // lanes),
        cost=max(1.0, limits.cost / lanes),
    )


def shutting_down() -> Draining:
    return Draining("the server is shutting down; ask another one")
