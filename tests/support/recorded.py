"""What is logged while a test runs, by every library, as lines of both forms."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.log_lines import JsonLines, TextLines

_PATIENCE_S = 60


class Recorder(logging.Handler):
    """`lines` are formatted where they are logged, as by a server's own handler."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.lines: list[str] = []
        self.texts: list[str] = []
        self._forms = JsonLines(), TextLines()

    def emit(self, record: logging.LogRecord) -> None:
        as_json, as_text = self._forms
        self.lines.append(as_json.format(record))
        self.texts.append(as_text.format(record))

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.lines) if line["logger"] == logger]

    def wait_for(self, logger: str, count: int = 1) -> list[dict[str, Any]]:
        """For lines that a server writes after its client has got the answer."""
        until_s = time.monotonic() + _PATIENCE_S
        while len(found := self.of(logger)) < count:
            assert time.monotonic() < until_s, found
            time.sleep(0.01)
        return found


@contextmanager
def recorded(level: int = logging.DEBUG) -> Iterator[Recorder]:
    """Every logger's records from `level` on."""
    recorder, root = Recorder(), logging.getLogger()
    before = root.level
    root.addHandler(recorder)
    root.setLevel(level)
    try:
        yield recorder
    finally:
        root.removeHandler(recorder)
        root.setLevel(before)
