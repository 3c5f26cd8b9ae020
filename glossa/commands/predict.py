"""`glossa predict`: ask a server, or the same app in this process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..client import Client
from ..home import settings_of
from ..output import echo_json
from . import options
from .serve import publish_once


@click.command()
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--task", default="ner", show_default=True, help="ner or fill-mask.")
@click.option("--language", metavar="CODE", help="The language of the texts.")
@click.option("--adapter", metavar="REFERENCE", help="Task adapter. [default: the registry's choice]")
@click.option("--language-adapter", metavar="REFERENCE|none", help="[default: that of the language]")
@click.option(
    "--server",
    metavar="URL",
    envvar="GLOSSA_SERVER",
    help="Ask this server. [env: GLOSSA_SERVER; default: answer in this process]",
)
@click.option("--api-key", envvar="GLOSSA_API_KEY", help="For the server. [env: GLOSSA_API_KEY]")
@options.backbone
@options.as_json
def predict(
    texts: tuple[str, ...],
    task: str,
    language: str | None,
    adapter: str | None,
    language_adapter: str | None,
    server: str | None,
    api_key: str | None,
    backbone: str | None,
    json_output: bool,
) -> None:
    """Answer a task for TEXTs, or for the lines of standard input."""
    asked = list(texts) or [line.strip() for line in sys.stdin if line.strip()]
    if not asked:
        raise click.UsageError("give a text, or lines on standard input")
    parameters: dict[str, Any] = {}
    if language is not None:
        parameters["language"] = language
    if adapter is not None:
        parameters["adapter"] = adapter
    if language_adapter is not None:
        parameters["language_adapter"] = None if language_adapter == "none" else language_adapter
    with _client(server, api_key, backbone) as client:
        answer = client.answer(task, asked, **parameters)
    if json_output:
        echo_json(answer.content)
        return
    for text, found in zip(asked, _by_text(answer.content, len(asked)), strict=True):
        click.echo(text)
        for line in answer_lines(found):
            click.echo(f"  {line}")
    ran = ", ".join(version for version in (answer.language_adapter, answer.adapter) if version is not None)
    click.echo(f"ran {ran or 'the bare backbone'} in {answer.total_ms or 0:.0f} ms", err=True)


@contextmanager
def _client(server: str | None, api_key: str | None, backbone: str | None) -> Iterator[Client]:
    if server is not None:
        with Client(server, api_key) as client:
            yield client
        return
    from ..in_process import InProcess

    settings = settings_of(backbone=backbone)
    publish_once(settings)
    with InProcess(settings) as transport, Client("http://in-process", transport=transport) as client:
        yield client


def _by_text(content: list[Any], count: int) -> list[list[Any]]:
    """One list per text: a list of one text is answered like the text alone by some tasks."""
    if count == 1 and (not content or isinstance(content[0], dict)):
        return [content]
    return content


def answer_lines(found: list[Any]) -> list[str]:
    """One line per entity or filling; several masks in a text give a list each."""
    if not found:
        return ["nothing found"]
    lines: list[str] = []
    for item in found:
        if isinstance(item, list):
            lines.extend(answer_lines(item))
        elif "token_str" in item:
            lines.append(f"{item['token_str']:<16} {item['score']:.2f}  {item['sequence']}")
        else:
            label = item.get("entity_group") or item.get("entity")
            lines.append(f"{label:<6} {item['word']}  ({item['start']}-{item['end']}, {item['score']:.2f})")
    return lines
