"""Which adapters are to stay on the device, and who wants that: nobody takes off what another has pinned."""

from typing import Literal

from madx.manifest import Digest

from ..errors import PinsFull

Owner = Literal["settings", "requests"]
"""GLOSSA_PINNED, or whoever pinned it over HTTP."""

_OF_LIMIT = 0.5


class Pinned:
    """Whoever calls holds the device's lock."""

    def __init__(self, limit_bytes: int) -> None:
        """`limit_bytes` is all that there is; half of it may be pinned."""
        self._limit_bytes = limit_bytes
        self._sizes: dict[Digest, int] = {}
        self._owners: dict[Digest, set[Owner]] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._sizes

    def add(self, digest: Digest, reference: str, size_bytes: int, owner: Owner) -> None:
        """Raises `PinsFull` where others would have too little left."""
        pinned_bytes = sum((self._sizes | {digest: size_bytes}).values())
        if pinned_bytes > _OF_LIMIT * self._limit_bytes:
            raise PinsFull(
                f"with {reference}, {pinned_bytes} bytes would be pinned, more than half of the {self._limit_bytes} "
                "that this server has for adapters; unpin others or raise GLOSSA_ADAPTER_BYTES"
            )
        self._sizes[digest] = size_bytes
        self._owners.setdefault(digest, set()).add(owner)

    def discard(self, digest: Digest, owner: Owner) -> None:
        """What `owner` has not pinned stays as it is."""
        owners = self._owners.get(digest, set())
        owners.discard(owner)
        if not owners:
            self._owners.pop(digest, None)
            self._sizes.pop(digest, None)
