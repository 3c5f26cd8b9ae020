"""One device thread: requests in, batches of rows of any languages and tasks through one forward, answers out.

Everything that reaches the thread comes through its inbox, and every accepted request is answered exactly once: with
its result, with a domain error, or, when the engine ends, with that news. `_turn` is the loop's one turn.
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

from madx.adapter import Adapter
from madx.config import BackboneConfig
from madx.errors import GlossaError
from madx.loading import LoadedBackbone
from registry.values import Version

from .admission import Admission
from .batching import Waiting, choose
from .errors import AdapterLoadFailed, Draining, InternalError, NotReady
from .hosted import HostedAdapters
from .logs import where
from .metrics import Metrics
from .model import Model, Outcome, run_rows
from .residency import Residency
from .work import AskedRow, Done, Work

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
class _Withdrawn:
    """The client left, or the deadline passed."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """One of the adapters that the request waits for has come, or will not."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    pass


_Message = Work | _Loaded | _Withdrawn | _Stop


class Engine:
    """`start`, `submit` and `stop` belong to one event loop; everything below `_run` to the device thread."""

    def __init__(
        self,
        *,
        open_model: Callable[[], Model],
        load_adapter: Callable[[Version, BackboneConfig], Adapter],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._open_model = open_model
        self._load_adapter = load_adapter
        self._limits = limits
        self._metrics = metrics
        self._admission = Admission(queue_tokens=limits.queue_tokens, batch_tokens=limits.batch_tokens, metrics=metrics)
        self._numbers = itertools.count()
        self._inbox: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards `_closed` against a request that comes while the thread ends
        self._closed: GlossaError | None = NotReady("the engine has not started")
        self._beat_s = time.monotonic()
        self._hosted: HostedAdapters | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._works: dict[int, Work] = {}
        self._pending: list[Waiting] = []

    async def start(self) -> LoadedBackbone:
        """Load the backbone in the device thread and begin to serve. Raises what loading raises."""
        self._loop = asyncio.get_running_loop()
        opened: Future[LoadedBackbone] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="glossa-device", daemon=True)
        self._thread.start()
        loaded = await asyncio.wrap_future(opened)
        self._hosted = HostedAdapters(
            read=lambda version: self._load_adapter(version, loaded.config),
            threads=self._limits.loaders,
            metrics=self._metrics,
        )
        return loaded

    @property
    def is_alive(self) -> bool:
        """False when the device thread has died, or has been in one turn for too long."""
        running = self._thread is not None and self._thread.is_alive()
        return running and time.monotonic() - self._beat_s < self._limits.stuck_after_s

    @property
    def is_ready(self) -> bool:
        return self._closed is None and self.is_alive

    def submit(self, rows: Sequence[AskedRow]) -> "asyncio.Future[Done]":
        """Accept a request, or refuse it at once. Cancelling the future takes it out of the queue."""
        self._check_open()
        tokens = self._admission.admit([len(row.input_ids) for row in rows])
        try:
            work = self._work(rows)
            self._post(work)
        except GlossaError:
            self._admission.release(tokens)
            raise
        work.future.add_done_callback(lambda future: self._finished(work.number, tokens, future.cancelled()))
        return work.future

    def _work(self, rows: Sequence[AskedRow]) -> Work:
        """Its adapters' loads begin here, while the device may be busy."""
        if self._loop is None or self._hosted is None:
            raise NotReady("the engine has not started")
        versions = {version.manifest_digest: version for row in rows for version in row.versions}
        return Work(
            number=next(self._numbers),
            rows=rows,
            future=self._loop.create_future(),
            accepted_s=time.monotonic(),
            versions=versions,
            loads={digest: self._hosted.want(version) for digest, version in versions.items()},
        )

    def _post(self, work: Work) -> None:
        with self._lock:
            self._check_open()
            self._inbox.put(work)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise type(self._closed)(str(self._closed))

    def _finished(self, number: int, tokens: int, withdrawn: bool) -> None:
        self._admission.release(tokens)
        if withdrawn:
            self._inbox.put(_Withdrawn(number=number))

    async def stop(self) -> None:
        """Refuse new requests, end the batch that runs, answer everything that waits."""
        with self._lock:
            self._closed = self._closed or Draining("the server is shutting down; ask another one")
        self._inbox.put(_Stop())
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._hosted is not None:
            self._hosted.close()

    def _run(self, opened: "Future[LoadedBackbone]") -> None:
        try:
            model = self._open_model()
        except BaseException as error:  # noqa: BLE001 - `start` waits for this, whatever it is
            opened.set_exception(error)
            return
        residency = self._residency(model)
        with self._lock:
            self._closed = None
        opened.set_result(model.loaded)
        try:
            while self._turn(model, residency):
                pass
        except BaseException as error:  # noqa: BLE001 - whatever ends the loop must not leave clients waiting
            _log.error("the engine died: %s", where(error))
            with self._lock:
                self._closed = NotReady("the engine died; restart the server")
        finally:
            self._end()

    def _residency(self, model: Model) -> Residency:
        return Residency(
            model.bank,
            model.loaded.config,
            budget_bytes=self._limits.adapter_bytes,
            item_bytes=model.item_bytes,
            metrics=self._metrics,
        )

    def _turn(self, model: Model, residency: Residency) -> bool:
        """Policy, compute, reply. False once the engine is to stop."""
        self._beat_s = time.monotonic()
        if not self._receive(residency):
            return False
        batch = choose(
            self._pending,
            budget_tokens=self._limits.batch_tokens,
            budget_bytes=self._limits.adapter_bytes,
            adapter_bytes=residency.sizes,
        )
        if batch:
            started_s = time.monotonic()
            outcome = self._compute(model, residency, batch)
            self._reply(batch, outcome, started_s, time.monotonic() - started_s)
        return True

    def _receive(self, residency: Residency) -> bool:
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
                    self._accept(message, residency)
                case _Loaded():
                    self._queue_if_loaded(message.number)
                case _Withdrawn():
                    self._withdraw(message.number)
                case _Stop():
                    return False

    def _accept(self, work: Work, residency: Residency) -> None:
        self._works[work.number] = work
        for version in work.versions.values():
            residency.measure(version)
        loading = [load for load in work.loads.values() if not load.done()]
        for load in loading:
            load.add_done_callback(lambda _: self._inbox.put(_Loaded(number=work.number)))
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

    def _compute(self, model: Model, residency: Residency, batch: Sequence[Waiting]) -> Outcome:
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
            with residency.pinned(needed) as slots:
                return run_rows(model, rows, slots)
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
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(work.settle, outcome)

    def _withdraw(self, number: int) -> None:
        if self._works.pop(number, None) is not None:
            self._pending = [waiting for waiting in self._pending if waiting.work != number]

    def _end(self) -> None:
        """Close the inbox, then answer everything that is still here."""
        with self._lock:
            reason = self._closed = self._closed or Draining("the server is shutting down; ask another one")
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, Work):
                self._works[message.number] = message
        for work in list(self._works.values()):
            self._answer(work, reason)
