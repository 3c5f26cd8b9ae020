"""Conditional and partial requests, header by header (RFC 9110, sections 13 and 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.conditions import Part, is_unchanged, part_of, precondition_of
from service.errors import InvalidRequest, PreconditionRequired, UnsatisfiableRange

WHOLE = Part(start=0, length=100, is_whole=True)


def part(header: str | None, if_range: str | None = None, size_bytes: int = 100) -> Part:
    return part_of(header, if_range, tag="abc", size_bytes=size_bytes)


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=10-19", 10, 10),
        ("bytes=99-", 99, 1),
        ("bytes=0-", 0, 100),
        ("bytes=90-200", 90, 10),
        ("bytes=-1", 99, 1),
        ("bytes=-100", 0, 100),
        ("bytes=-101", 0, 100),
        ("bytes=0-999999999999999999", 0, 100),
        ("bytes= 1-2 ", 1, 2),
    ],
)
def test_ranges(header: str, start: int, length: int) -> None:
    assert part(header) == Part(start=start, length=length, is_whole=False)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "bytes=0x1-2",
        "items=0-1",
        "bytes=\N{ARABIC-INDIC DIGIT ZERO}-",
        "bytes=0-1-2",
        "bytes=+1-2",
        f"bytes={'9' * 5000}-",
    ],
)
def test_what_is_no_single_range_gets_the_whole(header: str | None) -> None:
    assert part(header) == WHOLE


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_outside(header: str) -> None:
    with pytest.raises(UnsatisfiableRange) as caught:
        part(header)
    assert caught.value.size_bytes == 100


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0"])
def test_nothing_has_no_ranges(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        part(header, size_bytes=0)


@pytest.mark.parametrize(
    ("if_range", "is_whole"),
    [
        (None, False),
        ('"abc"', False),
        (' "abc" ', False),
        ('"abd"', True),
        ('W/"abc"', True),
        ("abc", True),
        ("Sat, 21 Nov 2026 05:00:00 GMT", True),
        ("", True),
    ],
)
def test_a_range_of_another_content_is_not_sent(if_range: str | None, is_whole: bool) -> None:
    assert part("bytes=10-", if_range).is_whole is is_whole


@given(st.text(alphabet="bytes=-,0123456789 ", max_size=30), st.integers(min_value=0, max_value=1 << 40))
def test_every_part_lies_inside(header: str, size_bytes: int) -> None:
    try:
        found = part(header, size_bytes=size_bytes)
    except UnsatisfiableRange:
        return
    assert found.start >= 0
    assert found.start + found.length <= size_bytes
    assert found.length > 0 or found.is_whole


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ('"abc"', True),
        ('W/"abc"', True),
        ("*", True),
        ('"x", "abc"', True),
        ('"x","y"', False),
        ("abc", False),
        ('"ABC"', False),
        ("", False),
    ],
)
def test_what_a_reader_has_already(header: str | None, expected: bool) -> None:
    assert is_unchanged(header, "abc") is expected


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "holding"),
    [
        ('"3"', None, {3}),
        (' "3" ', None, {3}),
        ('"3", "5"', None, {3, 5}),
        ("*", None, {1, 2, 3, 4, 5}),
        (None, "*", {0}),
        ('W/"3"', None, set()),
        ('W/"3", "5"', None, {5}),
        ('"03"', None, set()),
        ('"0"', None, set()),
        ('"-1"', None, set()),
        ('"x"', None, set()),
        ('""', None, set()),
        ('"²"', None, set()),
        ('"' + "3" * 5000 + '"', None, set()),
    ],
)
def test_preconditions(if_match: str | None, if_none_match: str | None, holding: set[int]) -> None:
    precondition = precondition_of(if_match, if_none_match)
    assert {revision for revision in range(6) if precondition.holds(revision)} == holding


@pytest.mark.parametrize("if_match", ["", "3", '"3', '3"', '"3" "4"', "*, *", '"a b"', "'3'", ","])
def test_what_is_no_tag(if_match: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        precondition_of(if_match, None)
    assert caught.value.field == "If-Match"


@pytest.mark.parametrize("if_none_match", ["", '"3"', "3"])
def test_creating_takes_a_star(if_none_match: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        precondition_of(None, if_none_match)
    assert caught.value.field == "If-None-Match"


def test_one_precondition_and_no_less() -> None:
    with pytest.raises(InvalidRequest):
        precondition_of('"3"', "*")
    with pytest.raises(PreconditionRequired):
        precondition_of(None, None)
