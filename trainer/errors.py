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


class UnknownRecipe(GlossaError):
    """A recipe's name or path that leads to none."""

    code = "unknown_recipe"


class InvalidRecipe(GlossaError):
    """A recipe that is not TOML or has a missing, unknown or wrong field."""

    code = "invalid_recipe"


class RunBusy(GlossaError):
    """A run folder that another process is working in."""

    code = "run_busy"


class Interrupted(GlossaError):
    """A run that was stopped between two steps; its checkpoint is written and the same command goes on."""

    code = "interrupted"


class WrongKind(GlossaError):
    """A reference that names a task adapter where a language adapter is needed, or the other way round."""

    code = "wrong_kind"
