"""Every attack there is: what the gate refuses, through whichever door it comes."""

from .attack import Attack
from .contents import content_attacks
from .headers import header_attacks
from .manifests import manifest_attacks


def all_attacks() -> tuple[Attack, ...]:
    """Each has a name of its own. Long contents are made when they are asked for."""
    return (*header_attacks(), *content_attacks(), *manifest_attacks())
