"""What can go wrong in training, each with what to do about it."""

from madx.errors import GlossaError


class Diverged(GlossaError):
    """A loss that is not finite any more."""

    code = "diverged"


class DamagedCheckpoint(GlossaError):
    """A training checkpoint that does not hold what its own state file says."""

    code = "damaged_checkpoint"


class TooLittleData(GlossaError):
    """Data that leaves nothing to train on or nothing to hold out."""

    code = "too_little_data"
