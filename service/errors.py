"""What the server itself refuses or cannot do. `problems` gives each of these its HTTP status."""

from collections.abc import Iterable, Mapping

from madx.errors import GlossaError, InvalidInput


class InvalidSettings(GlossaError):
    """An environment variable or argument that settings cannot be made from."""

    code = "invalid_settings"


class InvalidRequest(InvalidInput):
    """A request of wrong form. `field` names the part; "body" where it is no JSON object at all."""


class LanguageMissing(GlossaError):
    """The task's stack swaps language adapters and the request names neither a language nor an adapter."""

    code = "language_missing"
    field = "parameters.language"


class BodyTooLarge(GlossaError):
    """More bytes, inputs or tokens than one request may bring."""

    code = "too_large"

    def __init__(self, message: str, *, field: str = "inputs") -> None:
        super().__init__(message)
        self.field = field


class QueueFull(GlossaError):
    """The queue holds as many tokens as it may."""

    code = "queue_full"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PreconditionRequired(GlossaError):
    """A change without saying what it expects to change."""

    code = "precondition_required"


class UnsatisfiableRange(GlossaError):
    """A range of bytes outside of a content that has `size_bytes`."""

    code = "wrong_range"

    def __init__(self, message: str, *, size_bytes: int) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes


class RateLimited(GlossaError):
    """More requests with one key than it may make in a minute."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UploadsFull(GlossaError):
    """As many uploads run as may."""

    code = "too_many_uploads"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UploadIdle(GlossaError):
    """A client that has begun to send and does not go on."""

    code = "upload_idle"


class AdapterLoadFailed(GlossaError):
    """A version that is in the registry, but whose weights cannot be brought to the device.

    `retry_after_s`: until then it is not tried again.
    """

    code = "adapter_load_failed"

    def __init__(self, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PinsFull(GlossaError):
    """As much is pinned as may be."""

    code = "pins_full"


class NotReady(GlossaError):
    """The engine does not run (yet, or any more), or what it needs does not answer. `checks` has what was found."""

    code = "not_ready"

    def __init__(self, message: str, *, checks: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.checks = checks


class Draining(GlossaError):
    """The server is shutting down."""

    code = "draining"


class DeadlineExceeded(GlossaError):
    """The request was not answered in time."""

    code = "deadline_exceeded"


class UnknownRoute(GlossaError):
    """No page or method at this address."""

    code = "unknown_route"


class MethodNotAllowed(GlossaError):
    """The address exists, but not for this method."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: Iterable[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)


class InternalError(GlossaError):
    """Something failed that is no fault of the request. The log has the place, never the text."""

    code = "internal"
