"""Hypothesis strategies for what reaches the gate: safetensors files and manifests, right, nearly right and random."""

import json
from typing import Any

from hypothesis import strategies as st
from safetensors.numpy import save

from madx.manifest import Kind, to_bytes
from registry.weights_header import ITEM_BYTES
from tests.support.made_adapters import by_hand, made_manifest, made_tensors

KINDS: tuple[Kind, ...] = ("language", "task")
_SIZES = st.one_of(st.integers(0, 4), st.sampled_from([-1, 1 << 31, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, 1 << 64]))
_NAMES = st.one_of(
    st.sampled_from(["a", "b", "layers.0.output.down.weight", "__metadata__", "", "..", "a/b", "a\0"]), st.text()
)
_DTYPES = st.one_of(st.sampled_from([*ITEM_BYTES, "F64", "I8", "U8", "BOOL", "F8_E4M3", "f32"]), st.text(max_size=5))


def json_values() -> st.SearchStrategy[Any]:
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), _SIZES)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_NAMES, inner, max_size=4)),
        max_leaves=12,
    )


@st.composite
def laid_out(draw: st.DrawFn) -> bytes:
    """A right file of a few tensors with random bytes for numbers, and sometimes a field of its header exchanged."""
    header: dict[str, Any] = {}
    position = 0
    for name in draw(st.lists(st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True), max_size=4, unique=True)):
        dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
        shape = draw(st.lists(st.integers(1, 3), max_size=3))
        end = position + ITEM_BYTES[dtype]
        for size in shape:
            end += (end - position) * (size - 1)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, end]}
        position = end
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(), st.text(), max_size=2))
    if header and draw(st.integers(0, 3)) == 0:
        fields = header[draw(st.sampled_from(sorted(header)))]
        fields[draw(st.one_of(st.sampled_from(["dtype", "shape", "data_offsets"]), _NAMES))] = draw(json_values())
    content = json.dumps(header, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    padding = b" " * draw(st.integers(0, 9))
    return by_hand(content + padding, draw(st.binary(min_size=position, max_size=position)))


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A header of plausible fields with implausible values."""
    entry = st.fixed_dictionaries(
        {
            "dtype": _DTYPES,
            "shape": st.lists(_SIZES, max_size=3),
            "data_offsets": st.lists(_SIZES, min_size=2, max_size=2),
        },
        optional={"more": json_values()},
    )
    header = draw(st.dictionaries(_NAMES, st.one_of(entry, json_values()), max_size=4))
    return by_hand(json.dumps(header).encode(), draw(st.binary(max_size=32)))


@st.composite
def mutated(draw: st.DrawFn, contents: tuple[bytes, ...]) -> bytes:
    """One of `contents` after some bit flips, splices and cuts."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["flip", "byte", "insert", "remove", "copy", "cut"])):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "byte" if content:
                content[at] = draw(st.integers(0, 255))
            case "insert":
                content[at:at] = draw(st.binary(max_size=8))
            case "remove":
                del content[at : at + draw(st.integers(1, 64))]
            case "copy":
                start = draw(st.integers(0, max(len(content) - 1, 0)))
                content[at:at] = content[start : start + draw(st.integers(1, 64))]
            case "cut":
                del content[at:]
    return bytes(content)


def weights_files() -> st.SearchStrategy[bytes]:
    right = tuple(save(made_tensors(kind), {"format": "pt"}) for kind in KINDS)
    small = (by_hand({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4), by_hand({}))
    return st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(by_hand),
        json_values().map(lambda value: by_hand(json.dumps(value).encode())),
        laid_out(),
        structured(),
        mutated(right + small),
        mutated(small),
    )


@st.composite
def exchanged(draw: st.DrawFn) -> bytes:
    """The manifest of a right adapter, one of its fields exchanged."""
    document = json.loads(to_bytes(made_manifest(b"", draw(st.sampled_from(KINDS)))))
    place: Any = document
    while True:
        name = draw(st.one_of(st.sampled_from(sorted(place)), _NAMES) if place else _NAMES)
        inner = place.get(name)
        if not isinstance(inner, dict) or draw(st.booleans()):
            break
        place = inner
    place[name] = draw(json_values())
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


def manifests() -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.binary(max_size=200),
        json_values().map(lambda value: json.dumps(value).encode()),
        exchanged(),
        mutated(tuple(to_bytes(made_manifest(b"", kind)) for kind in KINDS)),
    )
