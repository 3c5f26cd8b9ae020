"""Why the gate refuses a weights file: one class and one stable `code` for each reason, all below `InvalidWeights`."""

from madx.errors import InvalidWeights


class NotSafetensors(InvalidWeights):
    """A header that is no safetensors header: not JSON, duplicate names, missing or foreign fields."""

    code = "not_safetensors"


class HeaderTooLarge(InvalidWeights):
    code = "header_too_large"


class TooManyTensors(InvalidWeights):
    code = "too_many_tensors"


class Truncated(InvalidWeights):
    """A file that ends before its header says it does."""

    code = "truncated"


class InvalidTensorName(InvalidWeights):
    code = "invalid_tensor_name"


class UnknownDtype(InvalidWeights):
    """A number format other than F32, F16 and BF16."""

    code = "unknown_dtype"


class WrongOffsets(InvalidWeights):
    """Tensor data that overlaps, leaves holes, runs past the last tensor, or does not fit its shape."""

    code = "wrong_offsets"


class WrongNames(InvalidWeights):
    """Tensors are missing or superfluous for the configuration."""

    code = "wrong_names"


class WrongShape(InvalidWeights):
    code = "wrong_shape"


class NotFinite(InvalidWeights):
    """NaN or infinity among the numbers."""

    code = "not_finite"


class DigestMismatch(InvalidWeights):
    """Content whose sha256 or size is not what the manifest names."""

    code = "digest_mismatch"


class GateFailed(InvalidWeights):
    """A file that the gate could not finish looking at within its limits of time and memory."""

    code = "gate_failed"
