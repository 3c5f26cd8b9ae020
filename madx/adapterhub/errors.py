"""Why an AdapterHub folder is not taken, or a version of ours cannot become one: a stable `code` for each reason."""

from ..errors import GlossaError


class InvalidHubConfig(GlossaError):
    """A configuration file of AdapterHub's that contradicts itself or lacks what its format demands."""

    code = "hub_invalid"


class UnsupportedHubAdapter(GlossaError):
    """A kind of adapter, or an option of a bottleneck, that the network here does not compute."""

    code = "hub_unsupported"


class UnsupportedHubHead(GlossaError):
    """A prediction head of a type that is not served yet, or of a build that no head here has."""

    code = "hub_head_unsupported"


class NotExpressible(GlossaError):
    """A version of ours that AdapterHub's format has no words for."""

    code = "hub_not_expressible"
