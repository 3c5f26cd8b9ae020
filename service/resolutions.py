"""What the registry said when it was asked which version runs, remembered until something changes in it, so that a
request costs no query. `watcher` tells of changes: this server's own before they are answered, others' about a second
after they were made.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from madx.manifest import Kind
from registry import catalog
from registry.references import AdapterRef
from registry.registry import Registry
from registry.values import Event, Version

from .resolve import Question
from .watcher import Watcher

TRUSTED_S = 5.0
"""For so long after the last look at the registry "nothing has changed" is believed: a database that is away, or hangs,
tells no news, and a version may have been deleted.
"""

_MOST_REMEMBERED = 2_048


class NotRemembered(Exception):
    """The registry must be asked, in a thread that may wait for it. Never leaves the server."""


class Resolutions:
    """For one backbone; what is not remembered is asked and then remembered. Safe to share between threads."""

    def __init__(
        self,
        registry: Registry,
        fingerprint: str,
        watcher: Watcher,
        *,
        switched: Callable[[Question, Version], Version] = lambda _, version: version,
    ) -> None:
        """`switched` says which version answers as long as the one that the registry names is not at hand."""
        self._registry = registry
        self._switched = switched
        self._fingerprint = fingerprint
        self._watcher = watcher
        self._lock = threading.Lock()
        self._known: OrderedDict[Question, Version] = OrderedDict()
        self._changes = 0
        self.remembered = Remembered(self)
        watcher.subscribe(self._forget)

    def find(self, reference: AdapterRef) -> Version:
        """Raises as `catalog.resolve`."""
        return self._switched(reference, self._recall(reference) or self._learn(reference))

    def choose(self, kind: Kind, key: str) -> Version:
        """Raises as `catalog.choose`."""
        return self._switched((kind, key), self._recall((kind, key)) or self._learn((kind, key)))

    def recall(self, question: Question) -> Version | None:
        """None where it is not known, or may have changed."""
        version = self._recall(question)
        return None if version is None else self._switched(question, version)

    def _recall(self, question: Question) -> Version | None:
        if self._watcher.age_s > TRUSTED_S:
            return None
        with self._lock:
            version = self._known.get(question)
            if version is not None:
                self._known.move_to_end(question)
            return version

    def _learn(self, question: Question) -> Version:
        changes = self._changes
        version = ask(self._registry, self._fingerprint, question)
        with self._lock:
            if changes == self._changes:  # else the answer may be one from before the change
                self._known[question] = version
                self._known.move_to_end(question)
                if len(self._known) > _MOST_REMEMBERED:
                    self._known.popitem(last=False)
        return version

    def _forget(self, _events: Sequence[Event]) -> None:
        """All of it: a change of one version can be a change of what runs for a language, a task or an alias."""
        with self._lock:
            self._changes += 1
            self._known.clear()


def ask(registry: Registry, fingerprint: str, question: Question) -> Version:
    """Raises as `catalog.resolve` and `catalog.choose`."""
    if isinstance(question, AdapterRef):
        return catalog.resolve(registry, question, fingerprint=fingerprint)
    kind, key = question
    return catalog.choose(registry, kind=kind, key=key, fingerprint=fingerprint)


class Remembered:
    """The same without asking anybody."""

    def __init__(self, resolutions: Resolutions) -> None:
        self._resolutions = resolutions

    def find(self, reference: AdapterRef) -> Version:
        """Raises `NotRemembered`."""
        return self._recalled(reference)

    def choose(self, kind: Kind, key: str) -> Version:
        """Raises `NotRemembered`."""
        return self._recalled((kind, key))

    def _recalled(self, question: Question) -> Version:
        version = self._resolutions.recall(question)
        if version is None:
            raise NotRemembered
        return version
