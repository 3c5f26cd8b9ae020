"""Lines of a body, however it was cut into pieces, and bodies of many texts as lines."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BodyTooLarge, InvalidRequest
from service.ndjson import is_asked_for, lines_of, split


def read(pieces: Sequence[bytes], longest_bytes: int = 100) -> list[bytes | str]:
    """Its lines; one that is too long as its error's code."""

    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[bytes | str]:
        lines = lines_of(sent(), longest_bytes=longest_bytes)
        return [line.code if isinstance(line, BodyTooLarge) else line async for line in lines]

    return asyncio.run(collect())


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"-")), max_size=8), st.data())
def test_the_cuts_do_not_matter(lines: list[bytes], data: st.DataObject) -> None:
    body = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    pieces = [body[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    expected = ["too_large" if len(line) > 8 else line for line in lines if line.strip() or len(line) > 8]
    assert read(pieces, longest_bytes=8) == expected


def test_a_long_line_costs_no_memory_and_its_neighbours_nothing() -> None:
    held: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield b"first\n"
        for _ in range(1_000):
            yield b"x" * 1_000
        yield b"\nlast"

    async def collect() -> list[bytes | BodyTooLarge]:
        lines = lines_of(endless(), longest_bytes=10)
        found = []
        async for line in lines:
            held.append(len(lines.ag_frame.f_locals["begun"]))  # type: ignore[attr-defined]
            found.append(line)
        return found

    first, long, last = asyncio.run(collect())
    assert (first, last) == (b"first", b"last")
    assert isinstance(long, BodyTooLarge)
    assert max(held) <= 10


def test_no_piece_makes_a_copy_of_all_that_came_before_it() -> None:
    piece, count = b"x" * 1_000, 2_000
    most_bytes = 0

    async def sent() -> AsyncIterator[bytes]:
        nonlocal most_bytes
        for _ in range(count):
            yield piece
            most_bytes = max(most_bytes, tracemalloc.get_traced_memory()[1])
        yield b"\n"

    async def collect() -> int:
        return sum([len(line) async for line in lines_of(sent(), longest_bytes=1 << 30) if isinstance(line, bytes)])

    tracemalloc.start()
    try:
        assert asyncio.run(collect()) == len(piece) * count
    finally:
        tracemalloc.stop()
    assert most_bytes < 1.5 * len(piece) * count


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("application/x-ndjson", True),
        ("Application/X-NDJSON; charset=utf-8", True),
        ("application/json, application/x-ndjson;q=0.5", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_asks_for_it(header: str, asked: bool) -> None:
    assert is_asked_for(header) is asked


def bodies(body: Any, max_inputs: int = 3, most_bytes: int = 1_000) -> list[Any]:
    return [orjson.loads(line) for line in split(orjson.dumps(body), max_inputs=max_inputs, most_bytes=most_bytes)]


def test_each_text_gets_what_stands_for_all_and_its_own_language() -> None:
    body = {"inputs": ["a", "b"], "parameters": {"stride": 3, "language": ["sw", "en"]}, "options": {}}
    assert bodies(body) == [
        {"inputs": "a", "parameters": {"stride": 3, "language": "sw"}, "options": {}},
        {"inputs": "b", "parameters": {"stride": 3, "language": "en"}, "options": {}},
    ]
    assert bodies({"inputs": ["a", "b"], "parameters": {"language": "sw"}}) == [
        {"inputs": "a", "parameters": {"language": "sw"}},
        {"inputs": "b", "parameters": {"language": "sw"}},
    ]


@pytest.mark.parametrize("body", [{"inputs": "one"}, {"inputs": []}, {"parameters": {}}, [1], "x"])
def test_what_is_no_list_of_texts_is_left_to_the_task(body: Any) -> None:
    assert bodies(body) == [body]


def test_too_many_texts_and_other_numbers_of_languages_are_refused() -> None:
    with pytest.raises(BodyTooLarge, match="4 texts"):
        bodies({"inputs": ["a"] * 4})
    with pytest.raises(InvalidRequest, match="1 languages for 2 texts"):
        bodies({"inputs": ["a", "b"], "parameters": {"language": ["sw"]}})
    with pytest.raises(InvalidRequest, match="no JSON"):
        split(b"{", max_inputs=3, most_bytes=1_000)


@pytest.mark.parametrize("beside", [{"options": {"x": "y" * 400}}, {"parameters": {"targets": ["y" * 400]}}])
def test_what_all_texts_share_may_not_be_repeated_without_bound(beside: dict[str, Any]) -> None:
    assert len(bodies({"inputs": ["a", "b"], **beside})) == 2
    with pytest.raises(BodyTooLarge, match="once for each text") as refusal:
        bodies({"inputs": ["a", "b", "c"], **beside})
    assert refusal.value.field == "body"


def test_a_language_for_each_text_is_not_repeated() -> None:
    languages = ["sw" * 50] * 20
    lines = bodies({"inputs": ["a"] * 20, "parameters": {"language": languages}}, max_inputs=20, most_bytes=1_000)
    assert [line["parameters"]["language"] for line in lines] == languages
