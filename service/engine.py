"""The engine as the event loop sees it: `start`, `submit`, `stop`, and a device thread that runs `turns`.

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

from madx.adapter import Adapter
from madx.config import BackboneConfig
from madx.errors import GlossaError
from madx.loading import LoadedBackbone
from registry.values import Version

from .admission import Admission
from .errors import Draining, NotReady
from .hosted import HostedAdapters
from .logs import where
from .metrics import Metrics
from .model import Model
from .turns import Inbox, Limits, Stop, Turns, Withdrawn
from .work import AskedRow, Done, Work

_log = logging.getLogger(__name__)


class Engine:
    """`start`, `submit` and `stop` belong to one event loop, `_run` to the device thread."""

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
        self._inbox: Inbox = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards `_closed` against a request that comes while the thread ends
        self._closed: GlossaError | None = NotReady("the engine has not started")
        self._hosted: HostedAdapters | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: Turns | None = None

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
        if self._thread is None or self._turns is None or not self._thread.is_alive():
            return False
        return time.monotonic() - self._turns.beat_s < self._limits.stuck_after_s

    @property
    def is_ready(self) -> bool:
        return self._closed is None and self.is_alive

    def submit(self, rows: Sequence[AskedRow], *, key: str, deadline_s: float) -> "asyncio.Future[Done]":
        """Accept a request, or refuse it at once. Cancelling the future takes it out of the queue.

        `key` is the id of the key that asks, empty where there are none; `deadline_s` is a moment of `time.monotonic`.
        """
        self._check_open()
        tokens = self._admission.admit([len(row.input_ids) for row in rows])
        try:
            work = self._work(rows, key, deadline_s)
            self._post(work)
        except GlossaError:
            self._admission.release(tokens)
            raise
        work.future.add_done_callback(lambda future: self._finished(work.number, tokens, future.cancelled()))
        return work.future

    def _work(self, rows: Sequence[AskedRow], key: str, deadline_s: float) -> Work:
        """Its adapters' loads begin here, while the device may be busy."""
        if self._loop is None or self._hosted is None:
            raise NotReady("the engine has not started")
        versions = {version.manifest_digest: version for row in rows for version in row.versions}
        return Work(
            number=next(self._numbers),
            rows=rows,
            key=key,
            deadline_s=deadline_s,
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
            self._inbox.put(Withdrawn(number=number))

    async def stop(self) -> None:
        """Refuse new requests, end the batch that runs, answer everything that waits."""
        with self._lock:
            self._closed = self._closed or Draining("the server is shutting down; ask another one")
        self._inbox.put(Stop())
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self._limits.stuck_after_s)
        if self._hosted is not None:
            self._hosted.close()

    def _run(self, opened: "Future[LoadedBackbone]") -> None:
        """The device thread."""
        opened.set_running_or_notify_cancel()  # from here on, a start that is given up cannot make `set_result` raise
        try:
            model = self._open_model()
            turns = Turns(model, self._inbox, limits=self._limits, tell=self._tell, metrics=self._metrics)
        except BaseException as error:  # noqa: BLE001 - `start` waits for this, whatever it is
            opened.set_exception(error)
            return
        with self._lock:
            self._turns, self._closed = turns, None
        opened.set_result(model.loaded)
        reason: GlossaError = Draining("the server is shutting down; ask another one")
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

    def _tell(self, work: Work, outcome: Done | GlossaError) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(work.settle, outcome)
