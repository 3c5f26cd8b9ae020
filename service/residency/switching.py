"""When a reference goes over to another version: once that one is on the device, not before.

An alias, a bare name or a default may come to stand for another version at any time. Requests go on with the one that
ran last, as long as it is live, until the new one has been loaded; so a move neither waits nor fails. `name@3` is never
redirected.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from madx.errors import GlossaError
from registry.references import AdapterRef
from registry.values import Event, Version

from ..logs import where
from ..metrics import Metrics
from ..resolve import Question
from .tiers import Residency

_MOST_REMEMBERED = 4_096

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class _Served:
    """`version` answers now; `coming` is loaded to take its place."""

    version: Version
    coming: Version | None = None


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
            if served is not None and served.version.manifest_digest != target.manifest_digest:
                if self._may_go_on(served.version, target):
                    served.coming = target
                    self._served.move_to_end(question)
                    self._residency.prefetch(target)
                    return served.version
                self._metrics.switches.inc()
            if served is None or served.version is not target or served.coming is not None:
                self._served[question] = _Served(version=target)
            self._served.move_to_end(question)
            if len(self._served) > _MOST_REMEMBERED:
                self._served.popitem(last=False)
            return target

    def heard(self, events: Sequence[Event]) -> None:
        """For `Watcher.subscribe`."""
        with self._lock:
            for event in events:
                name, _, number = event.subject.partition("@")
                self._moved.add(name)
                if event.action in ("version.deleted", "version.purged"):
                    self._forget(name, number)
                elif event.action in ("version.published", "version.restored"):
                    self._residency.loading.failed.forget_named(event.subject)

    def tend(self) -> None:
        """Begin to load what references that are served have come to stand for, and try again what failed."""
        with self._lock:
            moved, self._moved = self._moved, set()
            asked = [
                question
                for question, served in self._served.items()
                if served.coming is not None or served.version.name in moved
            ]
        for question in asked:
            self._look_ahead(question)

    def _may_go_on(self, version: Version, target: Version) -> bool:
        """Where neither is on the device there is nothing to wait for, unless the new one cannot be loaded."""
        device = self._residency.device
        if target.manifest_digest in device:
            return False
        is_failing = self._residency.loading.failed.refusal(target.manifest_digest) is not None
        return version.manifest_digest in device or is_failing

    def _forget(self, name: str, number: str) -> None:
        """A version that was deleted answers nothing more."""
        gone = [
            question
            for question, served in self._served.items()
            if served.version.name == name and str(served.version.number) == number
        ]
        for question in gone:
            del self._served[question]

    def _look_ahead(self, question: Question) -> None:
        try:
            target = self._resolve(question)
        except GlossaError as error:  # whoever asks next is told of it
            _log.info("a reference that is served stands for nothing now: %s", where(error))
            return
        with self._lock:
            served = self._served.get(question)
            if served is None:
                return
            is_new = served.version.manifest_digest != target.manifest_digest
            served.coming = target if is_new else None
        if is_new:
            self._residency.prefetch(target)
