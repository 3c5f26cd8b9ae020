"""The gate on weights: everything that is not exactly what the manifest says is refused, with its own code."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from madx.config import Composition
from madx.errors import InvalidManifest, InvalidWeights
from madx.manifest import Kind, Manifest, WeightsRef, to_bytes
from registry import refusals
from registry.gate import check_manifest, expected_shapes, largest_file_bytes
from registry.weights_gate import check_weights
from registry.weights_header import MAX_HEADER_BYTES
from tests.support.made_adapters import CONFIG, Tensors, by_hand, made_manifest, made_tensors

FIRST = "layers.0.output.down.weight"


def check(content: bytes, kind: Kind = "language") -> None:
    expected = expected_shapes(made_manifest(content, kind), CONFIG)
    check_weights(io.BytesIO(content), expected, file_bytes=len(content))


def refusal(content: bytes, kind: Kind = "language") -> InvalidWeights:
    with pytest.raises(InvalidWeights) as caught:
        check(content, kind)
    return caught.value


@pytest.mark.parametrize("kind", ["language", "task"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_lets_pass_what_safetensors_writes(kind: Kind, dtype: type) -> None:
    content = save({name: tensor.astype(dtype) for name, tensor in made_tensors(kind).items()}, {"format": "pt"})
    check(content, kind)
    assert len(content) <= largest_file_bytes(made_manifest(content, kind), CONFIG)


def bfloat16_file(tensors: Tensors) -> bytes:
    """numpy knows no bfloat16: the upper half of a float32 is one."""
    header: dict[str, Any] = {}
    data = b""
    for name, tensor in tensors.items():
        half = (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(half)],
        }
        data += half
    return by_hand(header, data)


def test_reads_bfloat16() -> None:
    tensors = made_tensors()
    content = bfloat16_file(tensors)
    check(content)
    tensors[FIRST][1, 2] = np.inf
    assert isinstance(refusal(bfloat16_file(tensors)), refusals.NotFinite)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(dtype: type, value: float) -> None:
    tensors: Tensors = {name: tensor.astype(dtype) for name, tensor in made_tensors().items()}
    tensors[FIRST][1, 2] = value
    error = refusal(save(tensors))
    assert error.code == "not_finite"
    assert FIRST in str(error)
    assert f"element {CONFIG.hidden_size + 2} " in str(error)


def test_looks_at_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.weights_gate._CHUNK_BYTES", 16)
    tensors = made_tensors()
    tensors[FIRST].flat[-1] = np.nan
    error = refusal(save(tensors))
    assert f"element {tensors[FIRST].size - 1} " in str(error)


def test_largest_finite_numbers_pass() -> None:
    tensors = made_tensors()
    tensors[FIRST][:] = np.finfo(np.float32).max
    content = save(tensors)
    check(content)


def without_first(tensors: Tensors) -> None:
    del tensors[FIRST]


def with_foreign(tensors: Tensors) -> None:
    tensors["layers.9.output.down.weight"] = tensors[FIRST]


def transposed(tensors: Tensors) -> None:
    tensors[FIRST] = np.ascontiguousarray(tensors[FIRST].T)


def doubles(tensors: Tensors) -> None:
    tensors[FIRST] = tensors[FIRST].astype(np.float64)


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (without_first, "wrong_names", f"missing {FIRST}"),
        (with_foreign, "wrong_names", "superfluous layers.9.output.down.weight"),
        (transposed, "wrong_shape", FIRST),
        (doubles, "unknown_dtype", FIRST),
    ],
)
def test_refuses_other_tensors(change: Callable[[Tensors], None], code: str, named: str) -> None:
    tensors = made_tensors()
    change(tensors)
    error = refusal(save(tensors))
    assert error.code == code
    assert named in str(error)


def test_refuses_a_language_adapter_sent_as_a_task_adapter() -> None:
    assert refusal(save(made_tensors("language")), "task").code == "wrong_names"


def entry(start: int = 0, end: int = 8, **changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [start, end]} | changes


HEADERS: list[tuple[Any, bytes, str]] = [
    ({"a": entry()}, b"\0" * 7, "truncated"),
    ({"a": entry()}, b"\0" * 9, "wrong_offsets"),
    ({"a": entry(), "b": entry(4, 12)}, b"\0" * 12, "wrong_offsets"),
    ({"a": entry(), "b": entry(12, 20)}, b"\0" * 20, "wrong_offsets"),
    ({"a": entry(), "b": entry()}, b"\0" * 8, "wrong_offsets"),
    ({"a": entry(8, 0)}, b"\0" * 8, "wrong_offsets"),
    ({"a": entry(shape=[3])}, b"\0" * 8, "wrong_offsets"),
    ({"a": entry(0, 0, shape=[0])}, b"", "wrong_shape"),
    ({"a": entry(shape=[-2])}, b"\0" * 8, "not_safetensors"),
    ({"a": entry(shape=[True, 2])}, b"\0" * 8, "not_safetensors"),
    ({"a": entry(shape=[2.0])}, b"\0" * 8, "not_safetensors"),
    ({"a": entry(shape=[1 << 63])}, b"\0" * 8, "not_safetensors"),
    ({"a": entry(data_offsets=[0])}, b"\0" * 8, "not_safetensors"),
    ({"a": entry(more=1)}, b"\0" * 8, "not_safetensors"),
    ({"a": 1}, b"", "not_safetensors"),
    ({"a": entry(dtype="I64", shape=[1])}, b"\0" * 8, "unknown_dtype"),
    ({"a": entry(dtype=["F32"])}, b"\0" * 8, "unknown_dtype"),
    ({"../a": entry()}, b"\0" * 8, "invalid_tensor_name"),
    ({"": entry()}, b"\0" * 8, "invalid_tensor_name"),
    ({"a" * 201: entry()}, b"\0" * 8, "invalid_tensor_name"),
    ({"é": entry()}, b"\0" * 8, "invalid_tensor_name"),
    ({f"t{i}": entry() for i in range(4097)}, b"", "too_many_tensors"),
    ({"__metadata__": {"a": 1}}, b"", "not_safetensors"),
    (b'{"a": 1, "a": 1}', b"", "not_safetensors"),
    (b"[]", b"", "not_safetensors"),
    (b"{", b"", "not_safetensors"),
    (b"", b"", "not_safetensors"),
    (b"\xff\xfe", b"", "not_safetensors"),
    (b"NaN", b"", "not_safetensors"),
    (b"[" * 100_000, b"", "not_safetensors"),
    (b'{"a": ' + b"9" * 5000 + b"}", b"", "not_safetensors"),
]


@pytest.mark.parametrize(("header", "data", "code"), HEADERS, ids=[f"{i}-{row[2]}" for i, row in enumerate(HEADERS)])
def test_refuses_bad_headers(header: dict[str, Any] | bytes, data: bytes, code: str) -> None:
    assert refusal(by_hand(header, data)).code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "truncated"),
        (b"\1\0\0", "truncated"),
        ((MAX_HEADER_BYTES + 1).to_bytes(8, "little"), "header_too_large"),
        ((MAX_HEADER_BYTES).to_bytes(8, "little") + b"{", "truncated"),
        (b"PK\3\4\0\0\0\0\0\0\0\0data.pkl", "header_too_large"),
        (b"\x80\2}q\0(X\7\0\0\0weightq\1", "header_too_large"),
    ],
)
def test_refuses_foreign_files(content: bytes, code: str) -> None:
    assert refusal(content).code == code


def manifest_with(**changes: Any) -> Manifest:
    return replace(made_manifest(b"", "task", key="ner"), **changes)


def test_a_manifest_has_bounds() -> None:
    with pytest.raises(InvalidManifest, match="allowed"):
        check_manifest(to_bytes(manifest_with(licence="x" * (1 << 20))))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b'"scaling": 1.0', b'"scaling": NaN'),
        (b'"scaling": 1.0', b'"scaling": 1e999'),
        (b'"reduction": 2.0', b'"reduction": Infinity'),
        (b'"task": "ner"', b'"task": "ner", "task": "pos"'),
        (b'"parents": []', b'"parents": ' + b"[" * 100_000),
    ],
)
def test_a_manifest_reads_one_way_only(right: bytes, wrong: bytes) -> None:
    content = to_bytes(manifest_with())
    assert content.count(right) == 1
    with pytest.raises(InvalidManifest, match="strict JSON"):
        check_manifest(content.replace(right, wrong))


@pytest.mark.parametrize("task", ["", "../ner", "NER", "a b"])
def test_a_task_obeys_the_rules_for_names(task: str) -> None:
    with pytest.raises(InvalidManifest, match="task"):
        check_manifest(to_bytes(manifest_with(task=task)))


def test_a_configuration_without_a_network_is_refused() -> None:
    config = replace(made_manifest(b"", "task", key="ner").config, reduction=1e9)
    with pytest.raises(InvalidManifest, match="config"):
        largest_file_bytes(manifest_with(config=config), CONFIG)


@pytest.mark.parametrize("language", ["Swahili@1", "sw@0", "a b@3"])
def test_a_pinned_language_adapter_obeys_the_rules_for_references(language: str) -> None:
    with pytest.raises(InvalidManifest, match=r"composition\.language"):
        check_manifest(to_bytes(manifest_with(composition=Composition(language=language))))


def test_a_composition_leaves_out_layers_that_there_are() -> None:
    fits = manifest_with(composition=Composition(leave_out=(0, 1)))
    assert expected_shapes(fits, CONFIG)
    with pytest.raises(InvalidManifest, match=r"composition\.leave_out: .* 0 to 1, not 2"):
        expected_shapes(replace(fits, composition=Composition(leave_out=(1, 2))), CONFIG)


def test_a_size_is_not_negative() -> None:
    with pytest.raises(InvalidManifest, match="size_bytes"):
        check_manifest(to_bytes(manifest_with(weights=WeightsRef(digest="a1" * 32, size_bytes=-1))))


def test_a_message_quotes_little_of_a_manifest() -> None:
    content = to_bytes(manifest_with(task="x" * 1_000)).replace(b'"job"', b'"' + b"y" * 100_000 + b'"')
    with pytest.raises(InvalidManifest) as caught:
        check_manifest(content)
    assert len(str(caught.value)) < 1_000
