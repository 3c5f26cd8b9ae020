"""The header of a safetensors file, read by hand and with suspicion: the first half of the gate.

Layout: 8 bytes little-endian header length, the header as JSON, then the tensors' bytes without holes.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from .refusals import (
    HeaderTooLarge,
    InvalidTensorName,
    NotSafetensors,
    TooManyTensors,
    Truncated,
    UnknownDtype,
    WrongOffsets,
    WrongShape,
)
from .strict_json import parse_strictly

MAX_HEADER_BYTES = 1 << 20
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8
PREFIX_BYTES = 8
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """`start` counts bytes from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


def read_header(stream: BinaryIO, file_bytes: int) -> tuple[TensorEntry, ...]:
    """The tensors in the order of their bytes, which fill a file of `file_bytes` exactly.

    Of `stream` only the header is read; the rest may still be on its way. Raises a subclass of `InvalidWeights`.
    """
    prefix = stream.read(PREFIX_BYTES)
    data_start = header_end(prefix)
    content = stream.read(data_start - PREFIX_BYTES)
    there = PREFIX_BYTES + len(content)
    if min(there, file_bytes) < data_start:
        raise Truncated(f"the file ends inside its header: {min(there, file_bytes)} of {data_start} bytes are there")
    header = _parse(content)
    if len(header) > MAX_TENSORS:
        raise TooManyTensors(f"the file holds {len(header)} tensors, {MAX_TENSORS} are allowed")
    entries = sorted(
        (_entry(name, fields, data_start) for name, fields in header.items()), key=lambda entry: entry.start
    )
    _check_layout(entries, data_start, file_bytes)
    return tuple(entries)


def header_end(prefix: bytes) -> int:
    """Bytes until the end of the header of a file that begins with `prefix`, of which `PREFIX_BYTES` are looked at.

    Raises `HeaderTooLarge`, and `Truncated` where they are not there.
    """
    if len(prefix) < PREFIX_BYTES:
        raise Truncated(f"the weights file has {len(prefix)} bytes, too few for a safetensors header")
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise HeaderTooLarge(
            f"the header claims {length} bytes, {MAX_HEADER_BYTES} are allowed; is this a safetensors file?"
        )
    return PREFIX_BYTES + length


def _parse(content: bytes) -> dict[str, Any]:
    if not content.startswith(b"{"):
        raise NotSafetensors("the header does not begin with '{', as safetensors headers do")
    try:
        header: dict[str, Any] = parse_strictly(content)
    except ValueError as error:
        raise NotSafetensors(f"the header is no JSON object of distinct names ({error})") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise NotSafetensors("the header's __metadata__ is no map of texts")
    return header


def _entry(name: str, fields: Any, data_start: int) -> TensorEntry:
    if _NAME.fullmatch(name) is None:
        raise InvalidTensorName(f"tensor name {name[:80]!r} is not 1 to 200 letters, digits, '.', '_' or '-'")
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise NotSafetensors(
            f"{name}: the header gives dtype, shape and data_offsets for each tensor, and nothing else"
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        given = repr(dtype[:20]) if isinstance(dtype, str) else "that is no text"
        raise UnknownDtype(f"{name}: dtype {given} is not accepted; store F32, F16 or BF16")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise NotSafetensors(f"{name}: shape and data_offsets are lists of whole numbers")
    if len(shape) > MAX_DIMENSIONS:  # the product of very many sizes takes minutes
        raise WrongShape(f"{name}: the shape has {len(shape)} dimensions, {MAX_DIMENSIONS} are allowed")
    if 0 in shape:
        raise WrongShape(f"{name}: shape {shape} has a dimension of size 0")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise WrongOffsets(f"{name}: data_offsets span {end - begin} bytes, which is not {dtype} of shape {shape}")
    return TensorEntry(name=name, dtype=dtype, shape=tuple(shape), start=data_start + begin, size_bytes=end - begin)


def _are_sizes(value: Any) -> bool:
    """Whole numbers that no file system exceeds; JSON's `true` is none."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _check_layout(entries: Iterable[TensorEntry], data_start: int, file_bytes: int) -> None:
    position = data_start
    for entry in entries:
        if entry.start != position:
            word = "overlaps the tensor before it" if entry.start < position else "leaves a hole before it"
            raise WrongOffsets(f"{entry.name}: its data {word}")
        position += entry.size_bytes
        if position > file_bytes:
            raise Truncated(f"{entry.name}: the file ends after {file_bytes} bytes, this tensor at {position}")
    if position != file_bytes:
        raise WrongOffsets(f"{file_bytes - position} bytes follow the last tensor")
