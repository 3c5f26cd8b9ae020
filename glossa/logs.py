"""The log of `glossa serve`: one handler for all libraries, on stderr, and what Python itself would print there.

Python's own reports of errors that nobody took have messages and arguments, which may quote a user's text. Here they
are told by type and place alone, as all errors are.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from service.log_lines import JsonLines, TextLines
from service.logs import where
from service.settings import Settings

_PACKAGES = ("madx", "registry", "service", "glossa")
_log = logging.getLogger(__name__)


@contextmanager
def server_logs(settings: Settings) -> Iterator[None]:
    """While the block runs, for the whole process.

    Enter it once the libraries are imported: some bring handlers and levels of their own, which are taken off for good.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root, handlers, root_level = logging.root, logging.root.handlers, logging.root.level
    for name in list(root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    root.handlers = [_handler(settings.log_format, sys.stderr)]
    root.setLevel(max(level, logging.WARNING))  # libraries may quote what they are given at lower levels
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(level)
    try:
        with _python_reports():
            yield
    finally:
        root.handlers = handlers
        root.setLevel(root_level)
        for package in _PACKAGES:
            logging.getLogger(package).setLevel(logging.NOTSET)


def _handler(form: str, stream: TextIO) -> logging.Handler:
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    return handler


@contextmanager
def _python_reports() -> Iterator[None]:
    """Warnings and errors that Python prints go through the log."""
    before = logging.raiseExceptions, threading.excepthook, sys.unraisablehook
    logging.raiseExceptions = False  # a line that cannot be written would be printed with its arguments
    threading.excepthook = _report_thread
    sys.unraisablehook = _report_unraisable
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.raiseExceptions, threading.excepthook, sys.unraisablehook = before


def _report_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        _log.error("a thread ended with an error: %s", where(ended.exc_value))


def _report_unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    if ignored.exc_value is not None:
        _log.error("an error was ignored: %s", where(ignored.exc_value))
