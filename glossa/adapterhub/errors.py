"""What can be wrong with an AdapterHub folder or with what is asked of it; `madx.adapterhub.errors` has the rest."""

from madx.errors import GlossaError


class NotAHubFolder(GlossaError):
    """A folder that is none of AdapterHub's, lacks a file, or cannot be written."""

    code = "hub_folder"


class InvalidHubWeights(GlossaError):
    """A weights file that cannot be read as plain tensors. Nothing in it was executed."""

    code = "hub_weights"


class HubUnavailable(GlossaError):
    """A name that the Hugging Face hub does not give."""

    code = "hub_unavailable"


class ImportUnclear(GlossaError):
    """A folder that does not say what it is; an option has to."""

    code = "hub_unclear"


class NoFittingBackbone(GlossaError):
    """No backbone of the registry, or not the one named, has the adapter's family, width and layers."""

    code = "hub_no_backbone"


class OtherEmbeddings(GlossaError):
    """A masked-LM head that was trained over other word embeddings than the backbone's."""

    code = "hub_other_embeddings"
