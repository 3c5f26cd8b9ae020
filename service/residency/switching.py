"""When a reference goes over to another version: once that one has been loaded, not before.

An alias, a bare name or a default may come to stand for another version at any time. Requests go on with the one that
ran last, as long as it is live, until the new one has been loaded; so a move neither waits nor fails. `name@3` is never
redirected.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from madx.errors import GlossaError
from registry.references import AdapterRef
from registry.values import Event, Version

from ..logs import where
from ..metrics import Metrics
from ..resolve import Question
from .places import Lease
from .tiers import Residency

_MOST_REMEMBERED = 4_096
_GONE = ("version.deleted", "version.purged")
_BACK = ("version.published", "version.restored", "version.healed")

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Served:
    """`version` answers now; `coming` is loaded to take its place, or was and could not be."""

    version: Version
    coming: Version | None = None
    is_loading: bool = False
    has_failed: bool = False


class Switching:
    """Safe to share between threads."""

    def __init__(self, residency: Residency, resolve: Callable[[Question], Version], metrics: Metrics) -> None:
        """`resolve` asks the registry."""
        self._residency = residency
        self._resolve = resolve
        self._metrics = metrics
        self._lock = threading.Lock()
        self._served: OrderedDict[Question, _Served] = OrderedDict()
        self._moved: set[str] = set()  # adapters' names that events told of
        self._has_default_moved = False
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        """How many references wait for a version to come."""
        with self._lock:
            return sum(served.coming is not None for served in self._served.values())

    def choose(self, question: Question, target: Version) -> Version:
        """The version that answers now, of a question whose answer in the registry is `target`."""
        if isinstance(question, AdapterRef) and question.number is not None:
            return target
        with self._lock:
            served = self._served.get(question)
            if target.reference in self._deleted:  # it was, after the registry had answered
                return target if served is None else served.version
            if served is None:
                self._serve(question, target)
                return target
            self._served.move_to_end(question)
            if self._is_served(question, served, target):
                return target
            begins = self._approach(served, target)
            answering = served.version if self._goes_on(served, begins=begins) else target
        if begins:
            self._load(question, target)
        return answering

    def heard(self, events: Sequence[Event]) -> None:
        """For `Watcher.subscribe`."""
        with self._lock:
            for event in events:
                self._moved.add(event.subject.partition("@")[0])
                self._has_default_moved |= event.action.startswith("default.")
                if event.action in _GONE:
                    self._forget(event.subject)
                elif event.action in _BACK:
                    self._deleted.pop(event.subject, None)
                    self._residency.loading.failed.forget_named(event.subject)

    def tend(self) -> None:
        """Begin to load what references that are served have come to stand for, and try again what failed."""
        with self._lock:
            moved, self._moved = self._moved, set()
            has_default_moved, self._has_default_moved = self._has_default_moved, False
            asked = [
                question
                for question, served in self._served.items()
                if served.coming is not None
                or served.version.name in moved
                or (has_default_moved and not isinstance(question, AdapterRef))
            ]
        for question in asked:
            self._look_ahead(question)

    def _serve(self, question: Question, version: Version) -> None:
        self._served[question] = _Served(version=version)
        self._served.move_to_end(question)
        if len(self._served) > _MOST_REMEMBERED:
            self._served.popitem(last=False)

    def _is_served(self, question: Question, served: _Served, target: Version) -> bool:
        """Whether `target` answers: it did, or it is on the device now."""
        if served.version.manifest_digest == target.manifest_digest:
            served.version, served.coming = target, None
            return True
        if target.manifest_digest in self._residency.device:
            self._go_over(question, target)
            return True
        return False

    def _go_over(self, question: Question, target: Version) -> None:
        self._metrics.switches.inc()
        self._serve(question, target)

    def _approach(self, served: _Served, target: Version) -> bool:
        """Make `target` what is coming; whether a load of it is to begin."""
        if served.coming is None or served.coming.manifest_digest != target.manifest_digest:
            served.coming, served.is_loading, served.has_failed = target, False, False
        if served.is_loading:
            return False
        if self._is_refused(target):
            served.has_failed = True
            return False
        served.is_loading = True
        return True

    def _goes_on(self, served: _Served, *, begins: bool) -> bool:
        """One that is not on the device either is loaded only where the new one fails or has been awaited before."""
        if served.version.manifest_digest in self._residency.device:
            return True
        return (served.has_failed or not begins) and not self._is_refused(served.version)

    def _is_refused(self, version: Version) -> bool:
        return self._residency.loading.failed.refusal(version.manifest_digest) is not None

    def _load(self, question: Question, target: Version) -> None:
        """Without the lock: the load may have ended already, and then says so at once."""
        self._residency.want(target).add_done_callback(partial(self._loaded, question, target))

    def _loaded(self, question: Question, target: Version, load: "Future[Lease]") -> None:
        """In any thread. One that was loaded can be loaded again, so it need not stay until somebody asks."""
        with self._lock:
            served = self._served.get(question)
            if served is None or served.coming is None or served.coming.manifest_digest != target.manifest_digest:
                return
            served.is_loading = False
            served.has_failed = load.exception() is not None
            if not served.has_failed:
                self._go_over(question, target)

    def _forget(self, reference: str) -> None:
        """A version that was deleted answers nothing more, not even where the registry had named it just before."""
        self._deleted[reference] = None
        if len(self._deleted) > _MOST_REMEMBERED:
            self._deleted.popitem(last=False)
        for question, served in list(self._served.items()):
            if served.version.reference == reference:
                del self._served[question]
            elif served.coming is not None and served.coming.reference == reference:
                served.coming = None

    def _look_ahead(self, question: Question) -> None:
        try:
            target = self._resolve(question)
        except GlossaError as error:  # whoever asks next is told of it
            _log.info("a reference that is served stands for nothing now: %s", where(error))
            return
        with self._lock:
            served = self._served.get(question)
            if served is None or target.reference in self._deleted or self._is_served(question, served, target):
                return
            begins = self._approach(served, target)
        if begins:
            self._load(question, target)
