"""`glossa demo`: serve the embedded demo, ask it one mixed batch in several languages, go on serving."""

import asyncio
import json
from typing import Any

import click

from madx.errors import GlossaError

from ..client import Answer, Client
from ..demo import SAMPLES, Sample, demo_backbone, publish_demo
from ..home import Home, settings_of
from .predict import answer_lines

LEAST_LANGUAGES = 4


class DemoIncomplete(GlossaError):
    """A home whose adapters serve fewer of the demo's languages than it is to show."""

    code = "demo_incomplete"


@click.command()
@click.option("--once", is_flag=True, help="Stop after the answers; the last line is DEMO and their JSON.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
def demo(once: bool, port: int) -> None:
    """Serve the embedded demo and ask it one batch that mixes languages."""
    from ..logs import server_logs
    from ..serving import listen, serve_until_stopped

    settings = settings_of(backbone=str(demo_backbone()), keys="loopback")
    home = Home.of(settings)
    click.echo("publishing the demo's adapters and loading its backbone ...", err=True)
    with home.registry() as registry:
        publish_demo(registry, home.root)

    async def on_ready(address: str) -> bool:
        answers = await asyncio.to_thread(ask, address)
        if once:
            click.echo("DEMO " + json.dumps(answers, ensure_ascii=False))
        else:
            click.echo(f"\nserving at {address} (try {address}/docs; Ctrl-C stops)")
        return not once

    with listen("127.0.0.1", 0 if once else port) as bound, server_logs(settings):
        serve_until_stopped(settings, bound, on_ready)


def ask(address: str) -> dict[str, Any]:
    """One batch, a sample per language that the server has; prints and returns the answers by language."""
    with Client(address) as client:
        served = {item["code"] for item in client.languages() if item["default"] is not None}
        samples = [sample for sample in SAMPLES if sample.language in served]
        if len(samples) < LEAST_LANGUAGES:
            raise DemoIncomplete(
                f"the home serves {len(samples)} of the demo's languages without choosing; "
                "set GLOSSA_HOME to an empty folder, or defaults with `glossa adapters default`"
            )
        names = {item["code"]: item["name"] for item in client.languages()}
        answer = client.answer(
            "ner", [sample.text for sample in samples], language=[sample.language for sample in samples]
        )
    _say(samples, names, answer)
    return {sample.language: found for sample, found in zip(samples, answer.content, strict=True)}


def _say(samples: list[Sample], names: dict[str, str], answer: Answer) -> None:
    adapters = _per_text(answer.language_adapter, len(samples))
    click.echo(f"one batch of {len(samples)} texts, {answer.total_ms or 0:.0f} ms, task adapter {answer.adapter}")
    for sample, found, adapter in zip(samples, answer.content, adapters, strict=True):
        click.echo(f"\n{names[sample.language]} ({sample.language}), language adapter {adapter}")
        click.echo(f"  {sample.text}")
        for line in answer_lines(found):
            click.echo(f"    {line}")


def _per_text(header: str | None, count: int) -> list[str]:
    """The header names one version per text, or one for all."""
    versions = [part.strip() for part in (header or "none").split(",")]
    return versions if len(versions) == count else [", ".join(versions)] * count
