"""The `glossa` command: the one place where errors become a line on stderr and an exit status.

0: done, 1: a domain error, 2: a usage error, 130: stopped. Commands import what is heavy inside their functions, so
that those which only list or ask start at once.
"""

import os
import sys
from collections.abc import Sequence

import click

from madx.errors import GlossaError

from .commands.adapters import adapters
from .commands.audit import audit
from .commands.backbones import backbones
from .commands.data import data
from .commands.demo import demo
from .commands.evaluate import evaluate
from .commands.exchange import export, import_
from .commands.keys import keys
from .commands.predict import predict
from .commands.pretrain import pretrain
from .commands.registry import registry
from .commands.serve import serve
from .commands.train import train
from .commands.upkeep import fsck, gc
from .output import error_line

STOPPED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="glossa-server", prog_name="glossa")
def glossa() -> None:
    """Serve many languages and tasks from one frozen multilingual encoder.

    GLOSSA_HOME holds everything (default: ~/.local/share/glossa), GLOSSA_BACKBONE names the backbone (default: the
    demo's), GLOSSA_DATA_DIR the folder of data sets.
    """


for command in (
    serve,
    train,
    pretrain,
    evaluate,
    adapters,
    import_,
    export,
    backbones,
    data,
    predict,
    demo,
    registry,
    keys,
    audit,
    gc,
    fsck,
):
    glossa.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """The exit status of one command line; every error is printed here."""
    try:
        status = glossa.main(args=list(arguments), prog_name="glossa", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GlossaError as error:
        if _debugs():
            raise
        click.echo(error_line(error), err=True)
        return STOPPED if error.code == "interrupted" else 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return STOPPED
    except BrokenPipeError:
        # The reader has gone: nobody is there to be told, and the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if _debugs():
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"error: {place}{error.strerror or error}", err=True)
        return 1
    except Exception as error:
        if _debugs():
            raise
        text = " ".join(f"{type(error).__name__}: {error}".split())
        click.echo(f"error: this is a fault of glossa itself: {text}; set GLOSSA_DEBUG=1 to see where", err=True)
        return 1
    return status if isinstance(status, int) else 0


def _debugs() -> bool:
    return os.environ.get("GLOSSA_DEBUG", "") not in ("", "0")


def main() -> None:
    sys.exit(run(sys.argv[1:]))
