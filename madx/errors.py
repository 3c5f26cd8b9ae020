"""The root of the error tree.

Every error that a user can cause derives from `GlossaError`; its message says what was wrong and what to do, and its
`code` is the stable name that the HTTP problem table and `--json` output carry.
"""

from typing import ClassVar


class GlossaError(Exception):
    """Base of all domain errors. `code` is stable; the message is for people."""

    code: ClassVar[str] = "error"


class InvalidConfig(GlossaError):
    """A configuration value or a combination of values that has no meaning."""

    code = "invalid_config"


class InvalidManifest(GlossaError):
    """A manifest that is not JSON, lacks a field, or carries a value out of range."""

    code = "invalid_manifest"


class InvalidWeights(GlossaError):
    """A safetensors file that is truncated, foreign, of other names or shapes, or not finite."""

    code = "invalid_weights"


class BackboneUnavailable(GlossaError):
    """A backbone folder or hub name that cannot be loaded, with the reason and the way out."""

    code = "backbone_unavailable"


class NoMaskedLMHead(GlossaError):
    """Fill-mask or language training on a backbone that carries no masked-LM head."""

    code = "no_masked_lm_head"


class InvalidInput(GlossaError):
    """An input that a task cannot encode. `field` names the part of the request."""

    code = "invalid"

    def __init__(self, message: str, *, field: str = "inputs") -> None:
        super().__init__(message)
        self.field = field


class TextTooLong(InvalidInput):
    """A text longer than the task accepts."""

    code = "too_large"
