"""Attacks with well-formed headers whose tensors are not the adapter's, and files of other kinds under a right name."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from safetensors.numpy import save

from madx.manifest import Kind
from tests.support.made_adapters import Tensors, by_hand, made_tensors

from .attack import Attack, on_weights, right_weights

FIRST = "layers.0.output.down.weight"
# "cos\nsystem\n…": what unpickles to a call of os.system. Written by hand; nothing here can read or write a pickle.
PICKLE = b"cos\nsystem\n(S'touch pickle-was-read'\ntR."


def content_attacks() -> Iterator[Attack]:
    yield from _numbers()
    yield from _tensors()
    yield from _foreign_files()


def _numbers() -> Iterator[Attack]:
    for value in (np.nan, np.inf, -np.inf):
        for dtype in (np.float32, np.float16):
            for element in (0, -1):
                name = f"{value} at element {element} of {np.dtype(dtype).name}"
                yield on_weights(name, "not_finite", partial(_with_value, dtype, element, value))
    for bits in (0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF):
        yield on_weights(f"{bits:#x} as bfloat16", "not_finite", partial(_bfloat16, bits))
    for whole in (0x7F80_0001, 0xFFFF_FFFF, 0x7FFF_FFFF):
        yield on_weights(f"{whole:#x} as float32", "not_finite", partial(_float32, whole))


def _with_value(dtype: type, element: int, value: float) -> bytes:
    tensors: Tensors = {name: tensor.astype(dtype) for name, tensor in made_tensors().items()}
    list(tensors.values())[element].flat[element] = value
    return save(tensors)


def _float32(bits: int) -> bytes:
    tensors = made_tensors()
    tensors[FIRST].view(np.uint32)[1, 2] = bits
    return save(tensors)


def _bfloat16(bits: int) -> bytes:
    """numpy knows no bfloat16: the upper half of a float32 is one."""
    halves = {name: (tensor.view(np.uint32) >> 16).astype("<u2") for name, tensor in made_tensors().items()}
    halves[FIRST][1, 2] = bits
    header: dict[str, Any] = {}
    position = 0
    for name, half in halves.items():
        end = position + half.nbytes
        header[name] = {"dtype": "BF16", "shape": list(half.shape), "data_offsets": [position, end]}
        position = end
    return by_hand(header, b"".join(half.tobytes() for half in halves.values()))


def _tensors() -> Iterator[Attack]:
    changes: dict[str, tuple[str, Callable[[Tensors], object]]] = {
        "one tensor missing": ("wrong_names", lambda tensors: tensors.pop(FIRST)),
        "one tensor too many": ("wrong_names", lambda tensors: tensors.update(more=tensors[FIRST])),
        "a tensor of a layer that is not there": (
            "wrong_names",
            lambda tensors: tensors.update({"layers.2.output.down.weight": tensors[FIRST]}),
        ),
        "a tensor under another name": ("wrong_names", lambda tensors: tensors.update(other=tensors.pop(FIRST))),
        "a name in capitals": ("wrong_names", lambda tensors: tensors.update({FIRST.upper(): tensors.pop(FIRST)})),
        "no tensor": ("wrong_names", lambda tensors: tensors.clear()),
        "a matrix transposed": (
            "wrong_shape",
            lambda tensors: tensors.update({FIRST: np.ascontiguousarray(tensors[FIRST].T)}),
        ),
        "a matrix as a vector": ("wrong_shape", lambda tensors: tensors.update({FIRST: tensors[FIRST].reshape(-1)})),
        "a matrix in a list": ("wrong_shape", lambda tensors: tensors.update({FIRST: tensors[FIRST][None]})),
        "a number for a matrix": (
            "wrong_shape",
            lambda tensors: tensors.update({FIRST: np.zeros((), dtype=np.float32)}),
        ),
        "a wider matrix": (
            "wrong_shape",
            lambda tensors: tensors.update({FIRST: np.zeros((4, 9), dtype=np.float32)}),
        ),
        "two matrices exchanged": ("wrong_shape", _exchange),
        "float64": ("unknown_dtype", lambda tensors: tensors.update({FIRST: tensors[FIRST].astype(np.float64)})),
        "int32": ("unknown_dtype", lambda tensors: tensors.update({FIRST: tensors[FIRST].astype(np.int32)})),
        "bool": ("unknown_dtype", lambda tensors: tensors.update({FIRST: tensors[FIRST] > 0})),
    }
    for name, (code, change) in changes.items():
        yield on_weights(name, code, partial(_changed, change))
    kinds: tuple[tuple[Kind, Kind], ...] = (("language", "task"), ("task", "language"))
    for sent, named in kinds:
        yield on_weights(f"{sent} adapter as {named} adapter", "wrong_names", partial(right_weights, sent), named)


def _changed(change: Callable[[Tensors], object]) -> bytes:
    tensors = made_tensors()
    change(tensors)
    return save(tensors)


def _exchange(tensors: Tensors) -> None:
    up = "layers.0.output.up.weight"
    tensors[FIRST], tensors[up] = tensors[up], tensors[FIRST]


def _foreign_files() -> Iterator[Attack]:
    for name, content in {
        "pickle, protocol 0": lambda: PICKLE,
        "pickle, protocol 2": lambda: b"\x80\x02" + PICKLE,
        "pickle, protocol 4": lambda: b"\x80\x04\x95" + len(PICKLE).to_bytes(8, "little") + PICKLE,
        "old torch file": lambda: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03." + PICKLE,
        "torch file": lambda: _zip(
            {"archive/data.pkl": PICKLE, "archive/version": b"3\n", "archive/data/0": b"\0" * 8}
        ),
        "zip": lambda: _zip({"weights.safetensors": right_weights()}),
        "zip with a path": lambda: _zip({"../../weights.safetensors": right_weights()}),
        "zip bomb": lambda: _zip({"bomb": b"\0" * 10_000_000}, zipfile.ZIP_DEFLATED),
        "npz": lambda: _zip({f"{FIRST}.npy": _npy()}),
        "npy": _npy,
        "gzip": lambda: gzip.compress(right_weights()),
        "gzip bomb": lambda: gzip.compress(b"\0" * 10_000_000),
        "tar with a path": _tar,
        "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 88,
        "ELF": lambda: b"\x7fELF\x02\x01\x01" + b"\0" * 57,
        "GGUF": lambda: b"GGUF\x03\0\0\0" + b"\0" * 16,
        "Git LFS pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64,
        "web page": lambda: b"<!doctype html><title>404</title>",
        "JSON": lambda: b'{"weights": [1, 2, 3]}',
        "shell script": lambda: b"#!/bin/sh\ntouch script-was-run\n",
        "random": lambda: np.random.default_rng(1).bytes(4096),
    }.items():
        yield on_weights(name, "header_too_large", content)
    yield on_weights("NUL bytes", "not_safetensors", lambda: b"\0" * 4096)
    yield on_weights("zip behind the tensors", "wrong_offsets", lambda: right_weights() + _zip({"data.pkl": PICKLE}))
    yield on_weights("pickle as the header", "not_safetensors", lambda: by_hand(PICKLE))
    yield on_weights("cut in the middle", "truncated", lambda: right_weights()[: len(right_weights()) // 2])
    yield on_weights("cut by one byte", "truncated", lambda: right_weights()[:-1])
    yield on_weights("one byte more", "wrong_offsets", lambda: right_weights() + b"\0")
    yield on_weights("twice in one file", "wrong_offsets", lambda: right_weights() * 2)


def _zip(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, made_tensors()[FIRST], allow_pickle=False)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        file = tarfile.TarInfo("../../weights.safetensors")
        file.size = 8
        archive.addfile(file, io.BytesIO(b"\0" * 8))
    return buffer.getvalue()
