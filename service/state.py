"""What a running server consists of. Made in the app's lifespan; routes get it from the request."""

from dataclasses import dataclass

from starlette.requests import Request

from madx.loading import LoadedBackbone
from registry.registry import Registry

from .access import Access
from .downloads import Downloads
from .engine import Engine
from .intake import Intake
from .metrics import Metrics
from .pools import Pools
from .probes import Probes
from .residency.switching import Switching
from .resolutions import Resolutions
from .resolve import Target
from .settings import Settings
from .watcher import Watcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    settings: Settings
    access: Access
    registry: Registry
    loaded: LoadedBackbone
    engine: Engine
    metrics: Metrics
    probes: Probes
    pools: Pools
    resolutions: Resolutions
    switching: Switching
    intake: Intake
    downloads: Downloads
    watcher: Watcher

    @property
    def target(self) -> Target:
        return Target(
            num_layers=self.loaded.config.num_layers,
            masked_lm=self.loaded.backbone.masked_lm is not None,
        )

    @property
    def max_tokens(self) -> int:
        """The longest row: what the backbone reads at once and a batch holds."""
        return min(self.loaded.config.max_tokens, self.settings.batch_tokens)


def server_of(request: Request) -> Server:
    server = request.app.state.server
    assert isinstance(server, Server)
    return server
