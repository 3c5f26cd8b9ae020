"""What the registry said when it was asked which version runs, remembered until something changes in it, so that a
request costs no query. `watcher` tells of changes: this server's own before they are answered, others' about a second
after they were made. Torch-free.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from madx.manifest import Kind
from registry import catalog
from registry.references import AdapterRef
from registry.registry import Registry
from registry.values import Event, Version

from .watcher import Watcher

TRUSTED_S = 5.0
"""For so long after the last look at the registry "nothing has changed" is believed: a database that is away, or hangs,
tells no news, and a version may have been deleted.
"""

_MOST_REMEMBERED = 2_048
_Question = AdapterRef | tuple[Kind, str]


class NotRemembered(Exception):
    """The registry must be asked, in a thread that may wait for it. Never leaves the server."""


class Resolutions:
    """For one backbone; what is not remembered is asked and then remembered. Safe to share between threads."""

    def __init__(self, registry: Registry, fingerprint: str, watcher: Watcher) -> None:
        self._registry = registry
        self._fingerprint = fingerprint
        self._watcher = watcher
        self._lock = threading.Lock()
        self._known: OrderedDict[_Question, Version] = OrderedDict()
        self._changes = 0
        self.remembered = Remembered(self)
        watcher.subscribe(self._forget)

    def find(self, reference: AdapterRef) -> Version:
        """Raises as `catalog.resolve`."""
        return self.recall(reference) or self._learn(reference)

    def choose(self, kind: Kind, key: str) -> Version:
        """Raises as `catalog.choose`."""
        return self.recall((kind, key)) or self._learn((kind, key))

    def recall(self, question: _Question) -> Version | None:
        """None where it is not known, or may have changed."""
        if self._watcher.age_s > TRUSTED_S:
            return None
        with self._lock:
            version = self._known.get(question)
            if version is not None:
                self._known.move_to_end(question)
            return version

    def _learn(self, question: _Question) -> Version:
        changes = self._changes
        if isinstance(question, AdapterRef):
            version = catalog.resolve(self._registry, question, fingerprint=self._fingerprint)
        else:
            kind, key = question
            version = catalog.choose(self._registry, kind=kind, key=key, fingerprint=self._fingerprint)
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

    def _recalled(self, question: _Question) -> Version:
        version = self._resolutions.recall(question)
        if version is None:
            raise NotRemembered
        return version
