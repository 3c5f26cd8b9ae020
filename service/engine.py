"""The engine as the event loop sees it: `start`, `submit`, `drain`, `stop`.

A request is accepted or refused at once; what was accepted is answered exactly once through its future: by the device
thread, by its deadline, by its client's leaving, or by a drain that has lasted long enough.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence

from madx.loading import LoadedBackbone

from .admission import Admission
from .batching import Costs
from .device_thread import DeviceThread, EngineLimits, Opened, shutting_down
from .errors import DeadlineExceeded, Draining, NotReady
from .logs import REQUEST_ID
from .metrics import Metrics
from .model import Model
from .residency.tiers import Residency
from .turns import TurnOutcomes
from .work import AskedRow, Done, Work, too_late, waiting_rows

_DEAD_S = 5.0
"""For so long a device thread is waited for that nobody waits for an answer from."""


class Engine:
    """Belongs to one event loop."""

    def __init__(
        self,
        *,
        open_model: Callable[[], Model],
        open_residency: Callable[[Model, Callable[[], None]], Residency],
        limits: EngineLimits,
        metrics: Metrics,
    ) -> None:
        """`open_residency` gets what makes an idle device thread take a turn."""
        self._limits = limits
        self._metrics = metrics
        self._device = DeviceThread(
            open_model=open_model,
            open_residency=open_residency,
            limits=limits,
            metrics=metrics,
            hand_over=self._hand_over,
        )
        self._numbers = itertools.count()
        self._opened: Opened | None = None
        self._admission: Admission | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accepted: dict[int, Work] = {}
        self._is_idle = asyncio.Event()
        self._has_freed = asyncio.Event()  # set and replaced whenever a request is over

    async def start(self) -> LoadedBackbone:
        """Load the backbone in the device thread and begin to serve. Raises what loading raises."""
        self._loop = asyncio.get_running_loop()
        opened = await asyncio.wrap_future(self._device.start())
        self._admission = Admission(
            opened.costs,
            queue_tokens=self._limits.queue_tokens,
            queue_s=self._limits.queue_s,
            batch_tokens=self._limits.batch_tokens,
            batch_masked=opened.most_masked,
            metrics=self._metrics,
        )
        self._opened = opened
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
        return self._device.is_alive

    @property
    def is_ready(self) -> bool:
        return self._device.closed is None and self.is_alive

    @property
    def is_draining(self) -> bool:
        return isinstance(self._device.closed, Draining)

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
            self._device.post(work)
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
        self._device.check_open()
        if self._admission is None:
            raise NotReady("the engine has not started")
        return self._admission

    def _work(self, rows: Sequence[AskedRow], key: str, deadline_s: float) -> Work:
        """Its adapters' loads begin here, while the device may be busy."""
        assert self._loop is not None
        versions = {version.manifest_digest: version for row in rows for version in row.versions}
        self.residency.check(versions.values())
        number, accepted_s = next(self._numbers), time.monotonic()
        return Work(
            number=number,
            request_id=REQUEST_ID.get(),
            rows=rows,
            future=self._loop.create_future(),
            accepted_s=accepted_s,
            loads={digest: self.residency.want(version) for digest, version in versions.items()},
            waiting=waiting_rows(number, rows, key=key, accepted_s=accepted_s, deadline_s=deadline_s, costs=self.costs),
        )

    def _forget(self, work: Work) -> None:
        """The device thread is told of what it has not answered itself."""
        if self._accepted.pop(work.number, None) is not None:
            self._device.withdraw(work.number)
        self._see_if_idle()

    def _see_if_idle(self) -> None:
        if self._device.closed is not None and not self._accepted:
            self._is_idle.set()

    async def drain(self, within_s: float) -> None:
        """Refuse new requests with `Draining` and answer all others: what is not done in time, with that too."""
        self._device.close()
        self._see_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._is_idle.wait()
        for work in list(self._accepted.values()):
            work.settle(shutting_down())

    async def stop(self) -> None:
        """Refuse new requests, end the batch that runs, answer everything that waits."""
        self._device.stop()
        await asyncio.to_thread(self._device.join, self._limits.stuck_after_s if self._accepted else _DEAD_S)
        if self._opened is not None:
            self._opened.residency.close()

    def _hand_over(self, ended: TurnOutcomes) -> None:
        """In the device thread."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, ended)

    def _settle(self, ended: TurnOutcomes) -> None:
        """All of a batch's answers at once."""
        if ended.cost and self._admission is not None:
            self._admission.ran(ended.cost, ended.seconds)
        for work, outcome in ended.outcomes:
            self._accepted.pop(work.number, None)
            work.settle(outcome)


def _is_expired(future: "asyncio.Future[Done]", deadline_s: float) -> bool:
    """Whoever noticed: the device thread, the timer, or the caller's own, which cancels the future."""
    if future.cancelled():
        return time.monotonic() >= deadline_s
    return isinstance(future.exception(), DeadlineExceeded)
