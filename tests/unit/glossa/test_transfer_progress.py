"""What a push or pull says: a bar on a terminal, elsewhere a line where there is much to carry."""

import io

from rich.console import Console

from glossa.connection import ClientError
from glossa.transfers import TransferProgress

MIB = 1 << 20
AWAY = ClientError("no answer from http://there", code="unreachable", status=None)


def said(size_bytes: int, *, start: int = 0, is_terminal: bool = False, waits: int = 0) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=160)
    with TransferProgress("pushing sw", size_bytes, console=console) as progress:
        progress.transfer.on_bytes(start)
        for _ in range(waits):
            progress.transfer.on_wait(AWAY, 2.0)
        progress.transfer.on_bytes(size_bytes)
        assert progress.received_bytes == size_bytes
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_little_is_carried_in_silence() -> None:
    assert said(MIB) == ""


def test_much_is_a_line() -> None:
    assert said(300 * MIB) == "pushing sw: 300.0 MiB\n"


def test_going_on_is_said() -> None:
    assert said(300 * MIB, start=120 * MIB) == "pushing sw: 300.0 MiB, going on at 120.0 MiB\n"


def test_a_server_that_is_away_is_said_once() -> None:
    assert said(300 * MIB, waits=5).splitlines()[1:] == [
        "pushing sw: no answer from http://there; trying again for some minutes"
    ]


def test_a_terminal_gets_a_bar() -> None:
    shown = said(300 * MIB, is_terminal=True)
    assert "pushing sw" in shown
    assert "300.0/300.0 MiB" in shown


def test_a_terminal_is_told_of_waiting() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with TransferProgress("pushing sw", MIB, console=console) as progress:
        progress.transfer.on_bytes(0)
        progress.transfer.on_wait(AWAY, 2.0)
    assert isinstance(console.file, io.StringIO)
    assert "trying again in 2 s" in console.file.getvalue()
