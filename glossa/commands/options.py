"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def as_json(function: Function) -> Function:
    return click.option("--json", "json_output", is_flag=True, help="Print JSON.")(function)


def server(function: Function) -> Function:
    return click.option(
        "--server",
        metavar="URL",
        envvar="GLOSSA_SERVER",
        help="Work on this server's registry, with GLOSSA_API_KEY. [env: GLOSSA_SERVER; default: this machine's]",
    )(function)


def backbone(function: Function) -> Function:
    return click.option(
        "--backbone", metavar="FOLDER|NAME", help="Folder or hub name. [default: GLOSSA_BACKBONE, else the demo's]"
    )(function)


def max_minutes(function: Function) -> Function:
    return click.option(
        "--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Plan so many steps as fit in this time."
    )(function)


def seed(function: Function) -> Function:
    return click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)(function)


def pairs(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """A callback for repeated KEY=VALUE options; each key once."""
    found: dict[str, str] = {}
    for value in values:
        key, _, rest = value.partition("=")
        if not key or not rest:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE", param=parameter)
        if key in found:
            raise click.BadParameter(f"{key} is given twice", param=parameter)
        found[key] = rest
    return found
