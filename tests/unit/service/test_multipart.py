"""Multipart bodies cut into chunks at every place, and everything that is none."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.multipart import MOST_PARTS, Form, PartReader

BOUNDARY = "b0undary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
Parts = list[tuple[str, bytes]]


def encoded(parts: Sequence[tuple[str, bytes]], boundary: str = BOUNDARY) -> bytes:
    lines = b""
    for name, content in parts:
        lines += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
    return lines + f"--{boundary}--\r\n".encode()


async def in_chunks(content: bytes, sizes: Sequence[int]) -> AsyncIterator[bytes]:
    start = 0
    for size in sizes:
        if start >= len(content):
            return
        yield content[start : start + size]
        start += size
    if start < len(content):
        yield content[start:]


async def read_all(content: bytes, sizes: Sequence[int], least_bytes: int = 1) -> Parts:
    form = Form(CONTENT_TYPE, in_chunks(content, sizes))
    found: Parts = []
    while (name := await form.next_part()) is not None:
        held = b""
        while (piece := await form.piece(least_bytes)) is not None:
            assert all(piece)
            held += b"".join(piece)
        found.append((name, held))
    return found


# Contents that look like boundaries are where a parser in pieces goes wrong.
CONTENTS = st.lists(st.sampled_from([b"a", b"\r", b"\n", b"--", b"\r\n--", b"\r\n--b0undar", b"b0undary"])).map(
    b"".join
)


@given(
    st.lists(st.tuples(st.sampled_from(["manifest", "weights"]), CONTENTS), max_size=4),
    st.lists(st.integers(1, 40)),
    st.integers(1, 30),
)
def test_parts_come_out_as_they_went_in(parts: Parts, sizes: list[int], least_bytes: int) -> None:
    parts = [(name, content) for name, content in parts if b"\r\n--b0undary" not in b"\r\n" + content]
    assert asyncio.run(read_all(encoded(parts), sizes, least_bytes)) == parts


def test_byte_by_byte() -> None:
    parts = [("manifest", b"{}"), ("weights", b"\r\n--b0undar\0" * 9), ("empty", b"")]
    content = encoded(parts)
    assert asyncio.run(read_all(content, [1] * len(content))) == parts


def test_pieces_have_at_least_so_many_bytes() -> None:
    content = encoded([("weights", bytes(1000))])

    async def sizes() -> list[int]:
        form = Form(CONTENT_TYPE, in_chunks(content, [10] * 200))
        assert await form.next_part() == "weights"
        found = []
        while (piece := await form.piece(300)) is not None:
            found.append(sum(map(len, piece)))
        return found

    *full, last = asyncio.run(sizes())
    assert sum(full) + last == 1000
    assert all(300 <= size < 310 for size in full)


def test_a_part_is_read_no_further_than_its_limit() -> None:
    async def read(limit_bytes: int) -> bytes | None:
        form = Form(CONTENT_TYPE, in_chunks(encoded([("manifest", b"12345")]), []))
        assert await form.next_part() == "manifest"
        return await form.read(limit_bytes)

    assert asyncio.run(read(5)) == b"12345"
    assert asyncio.run(read(4)) is None


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary*=utf-8''x",
    ],
)
def test_the_content_type_must_name_a_boundary(content_type: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PartReader(content_type)
    assert caught.value.field == "content-type"


HEAD = b'--b0undary\r\nContent-Disposition: form-data; name="manifest"\r\n'
BROKEN = {
    "nothing": b"",
    "another boundary": encoded([("manifest", b"{}")], "other"),
    "no last boundary": HEAD + b"\r\n{}\r\n--b0undary",
    "ends in a header": b"--b0undary\r\nContent-Dispo",
    "no name": b"--b0undary\r\nContent-Disposition: form-data\r\n\r\n{}\r\n--b0undary--",
    "no headers": b"--b0undary\r\n\r\n{}\r\n--b0undary--",
    "an attachment": b'--b0undary\r\nContent-Disposition: attachment; name="manifest"\r\n\r\n{}\r\n--b0undary--',
    "base64": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\ne30=\r\n--b0undary--",
    "a long header": HEAD + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n{}\r\n--b0undary--",
    "a header without end": HEAD + b"X-Long: " + b"x" * 100_000,
    "many headers": HEAD + b"X: y\r\n" * 100 + b"\r\n{}\r\n--b0undary--",
    "no colon": b"--b0undary\r\nContent-Disposition\r\n\r\n{}\r\n--b0undary--",
    "many parts": encoded([("manifest", b"")] * (MOST_PARTS + 1)),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_broken_body_is_refused(name: str, size: int, caplog: pytest.LogCaptureFixture) -> None:
    content = BROKEN[name]
    with pytest.raises(InvalidRequest):
        asyncio.run(read_all(content, [size] * (len(content) // size)))
    assert caplog.records == []


def test_what_follows_the_last_boundary_is_no_part() -> None:
    content = encoded([("manifest", b"{}")]) + b"\r\n--b0undary\r\n\r\nmore"
    assert asyncio.run(read_all(content, [5] * 100)) == [("manifest", b"{}")]
