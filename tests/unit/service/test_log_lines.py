"""Records as lines: whole, of one line each, and without what an error's message says."""

import json
import logging
import sys
from datetime import datetime
from typing import Any

import pytest

from service.log_lines import JsonLines, TextLines
from service.logs import REQUEST_ID

SECRET = "Zainabu alienda Mombasa"


def made(message: str, *values: object, fields: dict[str, Any] | None = None, error: bool = False) -> logging.LogRecord:
    record = logging.LogRecord("service.part", logging.WARNING, __file__, 1, message, values, None)
    if fields is not None:
        record.fields = fields
    if error:
        try:
            raise ValueError(SECRET)
        except ValueError:
            record.exc_info = sys.exc_info()
    return record


def test_a_line_of_json_has_what_the_record_has() -> None:
    in_context = REQUEST_ID.set("r-1")
    try:
        line = json.loads(JsonLines().format(made("%d left", 3, fields={"status": 503, "adapters": ("ner@1", "sw@2")})))
    finally:
        REQUEST_ID.reset(in_context)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "warning",
        "logger": "service.part",
        "message": "3 left",
        "request_id": "r-1",
        "status": 503,
        "adapters": ["ner@1", "sw@2"],
    }


def test_a_line_outside_of_requests_names_none() -> None:
    assert "request_id" not in json.loads(JsonLines().format(made("x")))


def test_a_line_of_text_has_the_same_and_is_one_line() -> None:
    line = TextLines().format(made("one\ntwo", fields={"adapters": ("ner@1", "sw@2"), "seconds": 0.123456}))
    assert line.endswith(" WARNING service.part: one two adapters=ner@1,sw@2 seconds=0.1235")
    datetime.fromisoformat(line.partition(" WARNING")[0])


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_an_error_is_told_by_type_and_place_alone(form: logging.Formatter) -> None:
    line = form.format(made("it failed", error=True))
    assert "ValueError at test_log_lines.py:" in line
    assert SECRET not in line


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_what_is_no_unicode_is_logged_all_the_same(form: logging.Formatter) -> None:
    line = form.format(made("the file %s", b"\xff.bin".decode("utf-8", "surrogateescape")))
    assert "xff.bin" not in line
    assert "udcff.bin" in line
    line.encode("utf-8")
