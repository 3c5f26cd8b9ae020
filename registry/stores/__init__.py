"""Blob stores: content-addressed, immutable bytes. `base` has the protocol that all pass the same contract for."""

from .address import open_store
from .base import BlobStore
from .blob import Blob, Leftover, Staged
from .staging import StagingFile

__all__ = ["Blob", "BlobStore", "Leftover", "Staged", "StagingFile", "open_store"]
