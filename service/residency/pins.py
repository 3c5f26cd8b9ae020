"""Adapters that stay on the device: what GLOSSA_PINNED names, as it moves from version to version."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from madx.errors import GlossaError
from madx.manifest import Digest
from registry.errors import InvalidName, NotFound, WrongBackbone
from registry.references import AdapterRef, parse_reference
from registry.values import Version

from ..errors import InvalidSettings
from ..resolve import Question
from .places import Lease
from .tiers import Residency

_log = logging.getLogger(__name__)


class Pins:
    """Used by one thread."""

    def __init__(
        self, references: Sequence[AdapterRef], residency: Residency, resolve: Callable[[Question], Version]
    ) -> None:
        """`resolve` asks the registry."""
        self._references = tuple(references)
        self._residency = residency
        self._resolve = resolve
        self._pinned: dict[AdapterRef, Digest] = {}
        self._coming: dict[AdapterRef, Future[Lease]] = {}  # held, so that what has come stays until it is pinned
        self._moving: set[AdapterRef] = set()
        self._failing: set[AdapterRef] = set()

    def tend(self, *, may_have_moved: bool) -> None:
        """Begin to load what is not there yet, pin what has come, unpin what a reference no longer stands for."""
        for reference in self._references:
            if not may_have_moved and reference in self._pinned and reference not in self._moving:
                continue
            try:
                self._tend(reference)
            except GlossaError as error:
                if reference not in self._failing:
                    _log.warning("GLOSSA_PINNED: %s cannot be pinned at present: %s", reference, error.code)
                self._failing.add(reference)
                self._moving.add(reference)
            else:
                self._failing.discard(reference)

    def _tend(self, reference: AdapterRef) -> None:
        try:
            version = self._resolve(reference)
        except (NotFound, WrongBackbone):
            self._coming.pop(reference, None)
            self._unpin(reference)
            raise
        if self._pinned.get(reference) == version.manifest_digest:
            self._coming.pop(reference, None)
            self._moving.discard(reference)
            return
        loading = self._coming[reference] = self._residency.want(version)
        if not loading.done():
            self._moving.add(reference)
            return
        del self._coming[reference]
        lease = loading.result()
        self._unpin(reference)  # first: old and new together may be more than can be pinned
        self._residency.device.pin(lease, "settings")
        self._pinned[reference] = version.manifest_digest
        self._moving.discard(reference)

    def _unpin(self, reference: AdapterRef) -> None:
        digest = self._pinned.pop(reference, None)
        if digest is not None and digest not in self._pinned.values():
            self._residency.device.unpin(digest, "settings")


def parse_pinned(text: str) -> tuple[AdapterRef, ...]:
    """Raises `InvalidSettings`."""
    try:
        return tuple(parse_reference(part.strip()) for part in text.split(",") if part.strip())
    except InvalidName as error:
        raise InvalidSettings(f"GLOSSA_PINNED: {error}") from error
