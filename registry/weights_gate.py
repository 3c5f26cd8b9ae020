"""The gate on a weights file: exactly the tensors that are expected, every number finite.

Pure functions over a stream. They run in a child process (`gate_child`), so this module and all it imports stay small:
no numpy, no pydantic. Bytes are only counted and compared; nothing in a file is executed.
"""

from collections.abc import Iterable, Mapping
from typing import BinaryIO

from .refusals import NotFinite, Truncated, WrongNames, WrongShape
from .weights_header import ITEM_BYTES, TensorEntry, read_header

Shape = tuple[int, ...]

_CHUNK_BYTES = 1 << 16
# Of one number, little-endian: all exponent bits, the lowest of them, and the sign, which is the next higher bit.
_MASKS = {
    "F32": (0x7F80_0000, 0x0080_0000, 0x8000_0000),
    "F16": (0x7C00, 0x0400, 0x8000),
    "BF16": (0x7F80, 0x0080, 0x8000),
}


def check_header(stream: BinaryIO, expected: Mapping[str, Shape], *, file_bytes: int) -> tuple[TensorEntry, ...]:
    """The tensors of a file of `file_bytes`, of which `stream` need hold no more than the header.

    Raises a subclass of `InvalidWeights`.
    """
    entries = read_header(stream, file_bytes)
    _check_tensors(entries, expected)
    return entries


def check_weights(stream: BinaryIO, expected: Mapping[str, Shape], *, file_bytes: int) -> None:
    """Raises a subclass of `InvalidWeights` unless the whole file is there, as expected, and finite."""
    for entry in check_header(stream, expected, file_bytes=file_bytes):
        _check_finite(stream, entry)


def _check_tensors(entries: Iterable[TensorEntry], expected: Mapping[str, Shape]) -> None:
    found = {entry.name: entry.shape for entry in entries}
    missing = [name for name in expected if name not in found]
    foreign = [name for name in found if name not in expected]
    if missing or foreign:
        parts = [_some("missing", missing)] * bool(missing) + [_some("superfluous", foreign)] * bool(foreign)
        raise WrongNames(f"the tensors are not those of the manifest's configuration: {'; '.join(parts)}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise WrongShape(f"{name}: shape {list(found[name])}, but the configuration needs {list(shape)}")


def _some(word: str, names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{word} {', '.join(names[:3])}{more}"


def _check_finite(stream: BinaryIO, entry: TensorEntry) -> None:
    """A float whose exponent bits are all set is infinite or NaN. A chunk is tested as one whole number.

    Adding the exponent's lowest bit carries into the sign bit of exactly the broken floats, and never beyond it.
    """
    item_bytes = ITEM_BYTES[entry.dtype]
    exponent, lowest, sign = (_repeated(mask, item_bytes) for mask in _MASKS[entry.dtype])
    stream.seek(entry.start)
    done_bytes = 0
    while done_bytes < entry.size_bytes:
        chunk = stream.read(min(_CHUNK_BYTES, entry.size_bytes - done_bytes))
        if not chunk:
            raise Truncated(f"{entry.name}: the file ends {entry.size_bytes - done_bytes} bytes before this tensor")
        broken = ((int.from_bytes(chunk, "little") & exponent) + lowest) & sign
        if broken:
            first = ((broken & -broken).bit_length() - 1) // (8 * item_bytes)
            element = done_bytes // item_bytes + first
            raise NotFinite(f"{entry.name}: NaN or infinity at element {element} of shape {list(entry.shape)}")
        done_bytes += len(chunk)


def _repeated(mask: int, item_bytes: int) -> int:
    return int.from_bytes(mask.to_bytes(item_bytes, "little") * (_CHUNK_BYTES // item_bytes), "little")
