"""Blob stores: content-addressed, immutable bytes. `base` has the protocol that all pass the same contract for."""

from .address import open_store
from .base import Blob, BlobStore, Staged

__all__ = ["Blob", "BlobStore", "Staged", "open_store"]
