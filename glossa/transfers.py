"""How a push or pull goes, on stderr: a bar on a terminal, else one line where there is much to carry."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .catalogues import Transfer
from .connection import ClientError
from .output import size_text

_WORTH_A_LINE_BYTES = 8 << 20


class TransferProgress:
    """Watches one transfer of `size_bytes`; `received_bytes` says how far it has come."""

    def __init__(self, title: str, size_bytes: int, *, console: Console | None = None) -> None:
        self.received_bytes = 0
        self.transfer = Transfer(on_bytes=self.on_bytes, on_wait=self.on_wait)
        self._title = title
        self._size_bytes = size_bytes
        self._console = Console(stderr=True) if console is None else console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._is_waiting = False
        self._has_begun = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._size_bytes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_bytes(self, received_bytes: int) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._announce(received_bytes)
        self._is_waiting = False
        self.received_bytes = received_bytes
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=received_bytes, description=self._title)

    def _announce(self, received_bytes: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, completed=received_bytes)  # what was there is no part of the speed
        elif self._size_bytes >= _WORTH_A_LINE_BYTES:
            begun = f", going on at {size_text(received_bytes)}" if received_bytes else ""
            self._say(f"{self._title}: {size_text(self._size_bytes)}{begun}")

    def on_wait(self, error: ClientError, seconds: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"{error.code}, trying again in {seconds:.0f} s")
        elif not self._is_waiting:
            reason = str(error).removesuffix("; is the server running?")
            self._say(f"{self._title}: {reason}; trying again for some minutes")
        self._is_waiting = True

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
