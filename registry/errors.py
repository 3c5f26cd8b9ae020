"""The registry's errors: below `GlossaError`, each with the stable `code` that problem+json and `--json` carry.

The gate's refusals of a weights file are in `refusals`.
"""

from collections.abc import Iterable
from typing import ClassVar

from madx.errors import GlossaError


class RegistryError(GlossaError):
    """Base of what the registry refuses or cannot do."""

    code = "registry_error"


class NotFound(RegistryError):
    """A name that names nothing here. `nearest` holds what may have been meant, best first."""

    code: ClassVar[str] = "not_found"

    def __init__(self, message: str, *, nearest: Iterable[str] = ()) -> None:
        self.nearest = tuple(nearest)
        hint = f"; the nearest: {', '.join(self.nearest)}" if self.nearest else ""
        super().__init__(message + hint)


class UnknownBackbone(NotFound):
    code = "unknown_backbone"


class UnknownAdapter(NotFound):
    code = "unknown_adapter"


class UnknownVersion(NotFound):
    code = "unknown_version"


class UnknownAlias(NotFound):
    code = "unknown_alias"


class NoDefault(NotFound):
    """A language or task for which no default is set."""

    code = "no_default"


class UnknownLanguage(NotFound):
    code = "unknown_language"


class UnknownTask(NotFound):
    code = "unknown_task"


class UnknownBlob(NotFound):
    """A digest that a blob store does not hold."""

    code = "unknown_blob"


class InvalidName(RegistryError):
    """A name, alias or reference that breaks the rules for names."""

    code = "invalid_name"


class NoKey(RegistryError):
    """A request without a key, or with one that is unknown, expired or revoked."""

    code = "no_key"


class NotAllowed(RegistryError):
    """A key that may not do this."""

    code = "not_allowed"


class InvalidKey(RegistryError):
    """A key that cannot be made. `field` names what is wrong with it."""

    code = "invalid"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class UnknownKey(NotFound):
    code = "unknown_key"


class InvalidEvaluation(RegistryError):
    """A score that says nothing that could be compared. `field` names what is wrong with it."""

    code = "invalid"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidCursor(RegistryError):
    """A cursor that no page of this list gave."""

    code = "invalid"
    field = "cursor"


class Conflict(RegistryError):
    """A write that contradicts what is already there."""

    code = "conflict"


class WeightsCollected(RegistryError):
    """A deleted version whose weights garbage collection has let go of."""

    code = "weights_collected"


class LeaseLost(RegistryError):
    """Publishing took so long that collection may have removed the blob; nothing was published."""

    code = "lease_lost"


class UnknownUpload(NotFound):
    """An upload that is not there, has expired, belongs to another actor, or lies with another server."""

    code = "unknown_upload"


class UploadBusy(RegistryError):
    """Another request is writing to the upload, or publishing it."""

    code = "upload_busy"


class UploadIncomplete(RegistryError):
    """An upload that was not finished: nobody has said yet which digest it must have."""

    code = "upload_incomplete"


class WrongRange(RegistryError):
    """A piece that does not begin where an upload goes on, which is at `received_bytes`."""

    code = "wrong_range"

    def __init__(self, message: str, *, received_bytes: int) -> None:
        super().__init__(message)
        self.received_bytes = received_bytes


class TooManyUploads(RegistryError):
    """An actor has as many open uploads as it may."""

    code = "too_many_uploads"
    retry_after_s: ClassVar[int] = 60


class IdempotencyMismatch(RegistryError):
    """An Idempotency-Key that came with another request before."""

    code = "idempotency_mismatch"
    field = "idempotency-key"


class InProgress(RegistryError):
    """The first request with this Idempotency-Key is still running."""

    code = "in_progress"


class PreconditionFailed(RegistryError):
    """A compare-and-set whose expected revision is not the present one. `revision` is the present one, 0 if none."""

    code = "precondition_failed"

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message)
        self.revision = revision


class WrongBackbone(RegistryError):
    """An adapter that exists, but for another backbone than the one asked for."""

    code = "wrong_backbone"


class Ambiguous(RegistryError):
    """A request that names several things at once. `candidates` lists them."""

    code = "ambiguous"

    def __init__(self, message: str, *, candidates: Iterable[str]) -> None:
        self.candidates = tuple(candidates)
        super().__init__(f"{message}: {', '.join(self.candidates)}")


class AmbiguousAdapter(Ambiguous):
    """Several adapters fit and no default is set. `candidates` holds their names."""


class AmbiguousBackbone(Ambiguous):
    """Several backbones have this name. `candidates` holds their fingerprints."""


class UnsupportedStore(RegistryError):
    """A blob address that no store of this version serves."""

    code = "unsupported_store"


class UnsupportedDatabase(RegistryError):
    """A database address that this version cannot open."""

    code = "unsupported_database"


class DatabaseUnavailable(RegistryError):
    """The database cannot be opened, read or written, or is of a newer version of this program."""

    code = "database_unavailable"


class DatabaseOutdated(DatabaseUnavailable):
    """The database's tables are not those of this version; a migration brings them up to date."""

    code = "database_outdated"


class StoreUnavailable(RegistryError):
    """The blob store cannot be read or written."""

    code = "store_unavailable"


class GateUnavailable(RegistryError):
    """The process that looks at weights does not start; nothing was decided about the file."""

    code = "gate_unavailable"


class BlobTooLarge(RegistryError):
    """A stream that is longer than its limit; nothing of it was kept."""

    code = "too_large"


class BlobCorrupt(RegistryError):
    """A blob whose bytes do not have the digest they are stored under."""

    code = "blob_corrupt"
