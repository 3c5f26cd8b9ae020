"""`glossa serve`: the HTTP server. On an empty home it publishes the demo first, once."""

import click

from service.settings import Settings

from ..demo import is_demo_backbone, is_due, publish_demo
from ..home import Home, settings_of
from . import options


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--keys",
    type=click.Choice(["auto", "required", "loopback", "off"]),
    help="Whether requests must bring an API key. [default: GLOSSA_KEYS, else auto: beyond loopback]",
)
@options.backbone
def serve(host: str, port: int, keys: str | None, backbone: str | None) -> None:
    """Serve predictions over HTTP until Ctrl-C."""
    from ..logs import server_logs
    from ..serving import check_keys, listen, serve_until_stopped, with_keys

    settings = with_keys(settings_of(backbone=backbone, keys=keys), host)
    with Home.of(settings).registry() as registry:
        check_keys(settings, registry)
    publish_once(settings)

    async def on_ready(address: str) -> bool:
        click.echo(f"serving {settings.backbone} at {address} (try {address}/docs; Ctrl-C stops)")
        return True

    with listen(host, port) as bound, server_logs(settings):
        serve_until_stopped(settings, bound, on_ready)


def publish_once(settings: Settings) -> None:
    """Publish the demo into a home that holds nothing else, if the demo's backbone is what is served."""
    if not is_demo_backbone(settings.backbone):
        return
    home = Home.of(settings)
    with home.registry() as registry:
        if is_due(registry, home.root):
            versions = publish_demo(registry, home.root)
            click.echo(
                f"published the demo in {home.root}: {', '.join(version.name for version in versions)}", err=True
            )
