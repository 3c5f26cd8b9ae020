"""The gate on weights: everything that is not exactly what the manifest says is refused, with its own code."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from madx.config import Composition
from madx.errors import InvalidManifest, InvalidWeights
from madx.manifest import Kind, Manifest, to_bytes
from registry import refusals
from registry.gate import check_manifest, check_weights, largest_file_bytes
from registry.weights_header import MAX_HEADER_BYTES
from tests.support.made_adapters import CONFIG, Tensors, by_hand, made_manifest, made_tensors, written

FIRST = "layers.0.output.down.weight"


def refusal(path: Path, content: bytes, kind: Kind = "language") -> InvalidWeights:
    """What the gate says about `content`, whose digest its manifest names rightly."""
    with pytest.raises(InvalidWeights) as caught:
        check_weights(written(path / "weights", content), made_manifest(content, kind), CONFIG)
    return caught.value


@pytest.mark.parametrize("kind", ["language", "task"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_lets_pass_what_safetensors_writes(tmp_path: Path, kind: Kind, dtype: type) -> None:
    content = save({name: tensor.astype(dtype) for name, tensor in made_tensors(kind).items()}, {"format": "pt"})
    check_weights(written(tmp_path / "weights", content), made_manifest(content, kind), CONFIG)
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


def test_reads_bfloat16(tmp_path: Path) -> None:
    tensors = made_tensors()
    content = bfloat16_file(tensors)
    check_weights(written(tmp_path / "weights", content), made_manifest(content), CONFIG)
    tensors[FIRST][1, 2] = np.inf
    assert isinstance(refusal(tmp_path, bfloat16_file(tensors)), refusals.NotFinite)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(tmp_path: Path, dtype: type, value: float) -> None:
    tensors: Tensors = {name: tensor.astype(dtype) for name, tensor in made_tensors().items()}
    tensors[FIRST][1, 2] = value
    error = refusal(tmp_path, save(tensors))
    assert error.code == "not_finite"
    assert FIRST in str(error)
    assert f"element {CONFIG.hidden_size + 2} " in str(error)


def test_looks_at_every_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.weights_gate._CHUNK_BYTES", 16)
    tensors = made_tensors()
    tensors[FIRST].flat[-1] = np.nan
    error = refusal(tmp_path, save(tensors))
    assert f"element {tensors[FIRST].size - 1} " in str(error)


def test_largest_finite_numbers_pass(tmp_path: Path) -> None:
    tensors = made_tensors()
    tensors[FIRST][:] = np.finfo(np.float32).max
    content = save(tensors)
    check_weights(written(tmp_path / "weights", content), made_manifest(content), CONFIG)


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
def test_refuses_other_tensors(tmp_path: Path, change: Callable[[Tensors], None], code: str, named: str) -> None:
    tensors = made_tensors()
    change(tensors)
    error = refusal(tmp_path, save(tensors))
    assert error.code == code
    assert named in str(error)


def test_refuses_a_language_adapter_sent_as_a_task_adapter(tmp_path: Path) -> None:
    assert refusal(tmp_path, save(made_tensors("language")), "task").code == "wrong_names"


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
def test_refuses_bad_headers(tmp_path: Path, header: dict[str, Any] | bytes, data: bytes, code: str) -> None:
    assert refusal(tmp_path, by_hand(header, data)).code == code


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
def test_refuses_foreign_files(tmp_path: Path, content: bytes, code: str) -> None:
    assert refusal(tmp_path, content).code == code


def test_refuses_content_of_another_digest(tmp_path: Path) -> None:
    content = save(made_tensors())
    path = written(tmp_path / "weights", content)
    other = bytearray(content)
    other[-1] ^= 1
    with pytest.raises(refusals.DigestMismatch, match="sha256"):
        check_weights(path, made_manifest(bytes(other)), CONFIG)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(cut=st.integers(min_value=0), place=st.integers(min_value=0), value=st.integers(0, 255))
def test_no_damage_passes_or_crashes(tmp_path: Path, cut: int, place: int, value: int) -> None:
    """Cut or changed anywhere, a file is refused by a domain error: its manifest names the digest of the whole one."""
    content = save(made_tensors())
    manifest = made_manifest(content)
    damaged = bytearray(content[: cut % (len(content) + 1)] if value % 2 else content)
    if damaged:
        damaged[place % len(damaged)] = value
    path = written(tmp_path / "weights", bytes(damaged))
    if bytes(damaged) == content:
        check_weights(path, manifest, CONFIG)
    else:
        with pytest.raises(InvalidWeights):
            check_weights(path, manifest, CONFIG)


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


def test_a_composition_leaves_out_layers_that_there_are(tmp_path: Path) -> None:
    content = save(made_tensors("task"))
    fits = replace(made_manifest(content, "task", key="ner"), composition=Composition(leave_out=(0, 1)))
    path = written(tmp_path / "weights", content)
    check_weights(path, fits, CONFIG)
    with pytest.raises(InvalidManifest, match=r"composition\.leave_out: .* 0 to 1, not 2"):
        check_weights(path, replace(fits, composition=Composition(leave_out=(1, 2))), CONFIG)
