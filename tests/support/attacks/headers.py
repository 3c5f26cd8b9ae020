"""Attacks in the header of a safetensors file, most of them on who parses it or believes its sizes."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from registry.strict_json import MAX_DEPTH
from tests.support.made_adapters import by_hand

from .attack import Attack, on_large, on_weights

_DATA = b"\0" * 8


def entry(start: int = 0, end: int = 8, **changes: object) -> dict[str, object]:
    """Two float32 numbers."""
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end]} | changes


def header_attacks() -> Iterator[Attack]:
    yield from _lengths()
    yield from _json()
    yield from _names()
    yield from _fields()
    yield from _layouts()


def _attack(name: str, code: str, header: dict[str, Any] | bytes, data: bytes = _DATA) -> Attack:
    return on_weights(name, code, partial(by_hand, header, data))


def _lengths() -> Iterator[Attack]:
    yield on_weights("empty file", "truncated", lambda: b"")
    yield on_weights("seven bytes", "truncated", lambda: b"\x10\0\0\0\0\0\0")
    yield on_weights("length without header", "truncated", lambda: (64).to_bytes(8, "little"))
    yield on_weights("header cut short", "truncated", lambda: by_hand({"a": entry()})[:40])
    for bits in (31, 32, 62, 63):
        claim = (1 << bits).to_bytes(8, "little")
        yield on_weights(f"header of 2^{bits} bytes", "header_too_large", partial(bytes.__add__, claim, b"{}"))
    yield on_weights("header of 2^64 - 1 bytes", "header_too_large", lambda: b"\xff" * 8 + b"{}")
    yield on_large("99 MB header of spaces", "header_too_large", lambda: by_hand(b"{}".ljust(99_000_000)))
    yield on_large("header one byte too long", "header_too_large", lambda: by_hand(b"{}".ljust((1 << 20) + 1)))
    yield on_large("400,000 empty tensors", "header_too_large", partial(_empty_tensors, 400_000))
    yield on_weights("4,097 empty tensors", "too_many_tensors", partial(_empty_tensors, 4_097))


def _empty_tensors(count: int) -> bytes:
    return by_hand({f"t{i}": entry(0, 0, shape=[0]) for i in range(count)})


def _json() -> Iterator[Attack]:
    right = json.dumps({"a": entry()}).encode()
    for name, header in {
        "no header": b"",
        "spaces": b" " * 64,
        "NUL bytes": b"\0" * 64,
        "list": b"[]",
        "null": b"null",
        "text": b'"a"',
        "space before the header": b" " + right,
        "NUL bytes behind the header": right + b"\0" * 8,
        "two headers": right + right,
        "header that does not end": right[:-1],
        "comment": b"{/**/" + right[1:],
        "comma too many": right[:-1] + b",}",
        "single quotes": right.replace(b'"', b"'"),
        "python instead of JSON": b"{'a': __import__('os').getcwd()}",
        "byte order mark": b"\xef\xbb\xbf" + right,
        "UTF-16": right.decode().encode("utf-16"),
        "UTF-32": right.decode().encode("utf-32-be"),
        "invalid UTF-8": right.replace(b'"a"', b'"\xff"'),
        "overlong UTF-8": right.replace(b'"a"', b'"\xc0\xaf"'),
        "surrogate in UTF-8": right.replace(b'"a"', b'"\xed\xa0\x80"'),
        "NUL in the JSON": right.replace(b'"a"', b'"\0"'),
        "half of an escaped surrogate pair": right.replace(b'"a"', rb'"\ud800"'),
        "tensor twice": right[:-1] + b"," + right[1:],
        "tensor twice, once escaped": right[:-1] + b"," + right[1:].replace(b'"a"', rb'"\u0061"'),
        "field twice": right.replace(b'"dtype"', b'"dtype": "F16", "dtype"'),
        "metadata twice": b'{"__metadata__": {}, "__metadata__": {}, ' + right[1:],
        "metadata with a name twice": b'{"__metadata__": {"a": "1", "a": "2"}, ' + right[1:],
        "metadata with half a surrogate pair": rb'{"__metadata__": {"a": "\udfff"}, ' + right[1:],
        "100,000 lists in each other": b'{"a": ' + b"[" * 100_000,
        "100,000 objects in each other": b'{"a":' * 100_000,
        "number of 5,000 digits": right.replace(b"[2]", b"[" + b"9" * 5_000 + b"]"),
        "number of a million digits": right.replace(b"[2]", b"[" + b"9" * 1_000_000 + b"]"),
        "fraction of a million digits": right.replace(b"[2]", b"[2." + b"9" * 1_000_000 + b"]"),
        "1e999": right.replace(b"[2]", b"[1e999]"),
        "NaN": right.replace(b"[2]", b"[NaN]"),
        "Infinity": right.replace(b"[2]", b"[-Infinity]"),
        "minus zero": right.replace(b"[0,", b"[-0,"),
        "hexadecimal": right.replace(b"[2]", b"[0x2]"),
        "leading zero": right.replace(b"[2]", b"[02]"),
    }.items():
        yield _attack(f"JSON: {name}", "not_safetensors", header)
    for depth in (20, 40, 900, 950, 960, 970, 980, 990, 1_000):
        nested = right.replace(b'"F32"', b"[" * depth + b"]" * depth)
        code = "not_safetensors" if depth > MAX_DEPTH else "unknown_dtype"
        yield _attack(f"JSON: {depth} lists in each other where a text should be", code, nested)


def _names() -> Iterator[Attack]:
    for name in (
        "",
        "\0",
        "a\0b",
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\boot.ini",
        "C:",
        "a/b",
        "a b",
        " a",
        "a\n",
        "a\r\nSet-Cookie: b",
        "\x1b[2J",
        "<script>",
        "${jndi}",
        "%2e%2e%2f",
        "{0}",
        "b" * 201,
        "é",
        "\uff0e\uff0e",
        "\u202egnp",
        "\U0001f4a9",
        "a\u0301",
    ):
        yield _attack(f"name {name[:20]!r}", "invalid_tensor_name", {name: entry()})
    for name in (".", "..", "__init__", "-rf", "a" * 200, "__metadata"):
        yield _attack(f"name {name[:20]!r}", "wrong_names", {name: entry()})


def _fields() -> Iterator[Attack]:
    broken: dict[str, dict[str, Any]] = {
        "a foreign field": {"more": 1},
        "negative dimensions": {"shape": [-1, -2]},
        "true as a dimension": {"shape": [True, 2]},
        "a fraction as a dimension": {"shape": [2.0]},
        "a text as a dimension": {"shape": ["2"]},
        "null as a dimension": {"shape": [None]},
        "a list as a dimension": {"shape": [[2]]},
        "a dimension of 2^63": {"shape": [1 << 63]},
        "a dimension of 2^64 + 2": {"shape": [(1 << 64) + 2]},
        "a shape that is no list": {"shape": 2},
        "a shape that is an object": {"shape": {"0": 2}},
        "one offset": {"data_offsets": [8]},
        "three offsets": {"data_offsets": [0, 8, 8]},
        "negative offsets": {"data_offsets": [-8, 0]},
        "an offset of 2^64": {"data_offsets": [1 << 64, (1 << 64) + 8]},
        "false as an offset": {"data_offsets": [False, 8]},
        "a fraction as an offset": {"data_offsets": [0.0, 8.0]},
        "texts as offsets": {"data_offsets": ["0", "8"]},
        "offsets that are no list": {"data_offsets": "08"},
    }
    for what, changes in broken.items():
        yield _attack(what, "not_safetensors", {"a": entry(**changes)})
    for field in ("dtype", "shape", "data_offsets"):
        yield _attack(f"no {field}", "not_safetensors", {"a": {k: v for k, v in entry().items() if k != field}})
    values: tuple[Any, ...] = (None, 1, "F32", [], [entry()], {})
    for value in values:
        yield _attack(f"tensor that is {json.dumps(value)[:8]}", "not_safetensors", {"a": value})
    wrong: tuple[Any, ...] = (None, 1, "a", [], {"a": 1}, {"a": None}, {"a": {"b": "c"}}, {"a": ["b"]}, {"a": True})
    for metadata in wrong:
        told = f"metadata {json.dumps(metadata)}"
        yield _attack(told, "not_safetensors", {"__metadata__": metadata, "a": entry()})
    for dtype in ("F64", "I8", "I64", "BOOL", "F8_E4M3", "F4", "C64", "f32", "float32", "F32 ", "", "O", "\0", "<f4"):
        yield _attack(f"dtype {dtype!r}", "unknown_dtype", {"a": entry(dtype=dtype)})
    for other in (None, 1, True, ["F32"], {"F32": 1}):
        yield _attack(f"dtype {json.dumps(other)}", "unknown_dtype", {"a": entry(dtype=other)})


def _layouts() -> Iterator[Attack]:
    yield _attack("no data", "truncated", {"a": entry()}, b"")
    yield _attack("a byte too few", "truncated", {"a": entry()}, b"\0" * 7)
    yield _attack("a byte too many", "wrong_offsets", {"a": entry()}, b"\0" * 9)
    yield _attack("bytes and no tensor", "wrong_offsets", {})
    yield _attack("overlap", "wrong_offsets", {"a": entry(), "b": entry(4, 12)}, b"\0" * 12)
    yield _attack("the same bytes twice", "wrong_offsets", {"a": entry(), "b": entry()})
    yield _attack("hole", "wrong_offsets", {"a": entry(), "b": entry(12, 20)}, b"\0" * 20)
    yield _attack("hole at the beginning", "wrong_offsets", {"a": entry(4, 12)}, b"\0" * 12)
    yield _attack("backwards", "wrong_offsets", {"a": entry(8, 0)})
    yield _attack("shape larger than its bytes", "wrong_offsets", {"a": entry(shape=[3])})
    yield _attack("shape that overflows to 0 bytes", "wrong_offsets", {"a": entry(0, 0, shape=[1 << 32, 1 << 32])}, b"")
    yield _attack("shape that overflows to 8 bytes", "wrong_offsets", {"a": entry(shape=[(1 << 62) + 2])})
    yield _attack("2^60 numbers", "truncated", {"a": entry(0, 1 << 62, shape=[1 << 60])})
    yield _attack("a dimension of 0", "wrong_shape", {"a": entry(0, 0, shape=[0])}, b"")
    yield _attack("shape [0, 2^40]", "wrong_shape", {"a": entry(0, 0, shape=[0, 1 << 40])}, b"")
    yield _attack("nine dimensions", "wrong_shape", {"a": entry(shape=[2] + [1] * 8)})
    yield _attack("40,000 dimensions of 2^62", "wrong_shape", {"a": entry(shape=[1 << 62] * 40_000)})
    yield _attack(
        "500,000 dimensions of 9",
        "wrong_shape",
        b'{"a":{"dtype":"F32","data_offsets":[0,8],"shape":[9' + b",9" * 499_999 + b"]}}",
    )
