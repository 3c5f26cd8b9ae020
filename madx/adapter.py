"""One adapter as a module: bottlenecks per layer and site, invertible adapter, head.

Its state dict's names and shapes are exactly `shapes.adapter_shapes`, so what trains, what is stored and what the
bank holds are one thing under one set of names.
"""

from typing import cast

from torch import nn

from .bottleneck import Bottleneck
from .config import AdapterConfig, BackboneConfig, HeadConfig, Site, bottleneck_size
from .heads.masked_lm import MaskedLMHead
from .heads.tagging import TaggingHead
from .invertible import Invertible
from .shapes import adapter_shapes

Head = TaggingHead | MaskedLMHead


class Adapter(nn.Module):
    """A language or task adapter on a backbone of `backbone`'s shape. Raises `InvalidConfig` where they do not fit."""

    def __init__(self, config: AdapterConfig, head: HeadConfig | None, backbone: BackboneConfig) -> None:
        super().__init__()
        adapter_shapes(config, head, backbone)
        self.config = config
        self.head_config = head
        self.backbone_config = backbone
        hidden = backbone.hidden_size
        size = bottleneck_size(hidden, config.reduction)

        def bottleneck() -> Bottleneck:
            return Bottleneck(hidden, size, hidden, non_linearity=config.non_linearity, scaling=config.scaling)

        self.layers = nn.ModuleDict(
            {
                str(layer): nn.ModuleDict({site: bottleneck() for site in config.sites})
                for layer in range(backbone.num_layers)
                if layer not in config.leave_out
            }
        )
        self.invertible = Invertible(config.invertible, hidden) if config.invertible else None
        self.head: Head | None = None
        if head is not None:
            self.head = TaggingHead(head, hidden) if head.type == "tagging" else MaskedLMHead(backbone)
        # A lookup on every layer of every batch should not walk module dictionaries by string.
        self._sites: dict[tuple[int, Site], Bottleneck] = {
            (int(layer), cast(Site, site)): cast(Bottleneck, module)
            for layer, sites in self.layers.items()
            for site, module in cast(nn.ModuleDict, sites).items()
        }

    def at(self, layer: int, site: Site) -> Bottleneck | None:
        """The bottleneck that acts at `site` of `layer`, or None where the adapter leaves the layer out."""
        return self._sites.get((layer, site))
