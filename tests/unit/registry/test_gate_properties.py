"""Whatever bytes come, the gate refuses them with a refusal of its own or reads what safetensors reads, finite."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from safetensors import deserialize

from madx.errors import InvalidManifest, InvalidWeights
from madx.manifest import Manifest, from_bytes, to_bytes
from registry.gate import check_manifest, expected_shapes, largest_file_bytes
from registry.gatekeeper import Gatekeeper
from registry.lineage import check_names
from registry.refusals import GateFailed, NotFinite
from registry.weights_gate import Shape, check_weights
from registry.weights_header import TensorEntry, header_end, read_header
from tests.support.made_adapters import CONFIG, written
from tests.support.made_files import manifests, weights_files

MOST_MESSAGE_BYTES = 2_000


def entries_of(content: bytes) -> tuple[TensorEntry, ...] | InvalidWeights:
    try:
        return read_header(io.BytesIO(content), len(content))
    except InvalidWeights as refusal:
        return refusal


def judge(content: bytes, expected: dict[str, Shape]) -> InvalidWeights | None:
    try:
        check_weights(io.BytesIO(content), expected, file_bytes=len(content))
    except InvalidWeights as refusal:
        return refusal
    return None


def all_finite(tensors: list[tuple[str, dict[str, Any]]]) -> bool:
    for _, tensor in tensors:
        data = tensor["data"]
        if tensor["dtype"] == "BF16":  # the upper half of a float32
            numbers = (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            numbers = np.frombuffer(data, dtype={"F32": "<f4", "F16": "<f2"}[tensor["dtype"]])
        if not np.isfinite(numbers).all():
            return False
    return True


@settings(max_examples=1_500, deadline=None)
@given(content=weights_files())
def test_any_file_is_refused_or_read_as_safetensors_reads_it(content: bytes) -> None:
    entries = entries_of(content)
    if isinstance(entries, InvalidWeights):
        assert len(str(entries).encode()) < MOST_MESSAGE_BYTES
        return
    tensors = deserialize(content)  # type: ignore[no-untyped-call]
    found = {(name, tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"])) for name, tensor in tensors}
    parts = {entry.name: content[entry.start : entry.start + entry.size_bytes] for entry in entries}
    assert found == {(entry.name, entry.dtype, entry.shape, parts[entry.name]) for entry in entries}
    refusal = judge(content, {entry.name: entry.shape for entry in entries})
    assert type(refusal) is (type(None) if all_finite(tensors) else NotFinite)


@settings(max_examples=500, deadline=None)
@given(content=weights_files())
def test_a_header_alone_is_judged_as_with_the_rest(content: bytes) -> None:
    whole = entries_of(content)
    try:
        begun = content[: header_end(content)]
        alone: object = read_header(io.BytesIO(begun), len(content))
    except InvalidWeights as refusal:
        alone = refusal
    assert type(alone) is type(whole)
    assert str(alone) == str(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=weights_files())
def test_a_child_says_what_this_process_says(tmp_path: Path, content: bytes) -> None:
    entries = entries_of(content)
    expected = {} if isinstance(entries, InvalidWeights) else {entry.name: entry.shape for entry in entries}
    refusal = judge(content, expected)
    path = written(tmp_path / "weights", content)
    if refusal is None:
        Gatekeeper().check_weights(path, expected)
    else:
        with pytest.raises(InvalidWeights) as caught:
            Gatekeeper().check_weights(path, expected)
        assert not isinstance(caught.value, GateFailed)
        assert (type(caught.value), str(caught.value)) == (type(refusal), str(refusal))


def read_manifest(content: bytes) -> Manifest | InvalidManifest:
    try:
        manifest = check_manifest(content)
        check_names(manifest)
        expected_shapes(manifest, CONFIG)
        largest_file_bytes(manifest, CONFIG)
    except InvalidManifest as refusal:
        return refusal
    return manifest


@settings(max_examples=1_500, deadline=None)
@given(content=manifests())
def test_any_manifest_is_refused_or_read(content: bytes) -> None:
    manifest = read_manifest(content)
    if isinstance(manifest, InvalidManifest):
        assert len(str(manifest).encode()) < MOST_MESSAGE_BYTES
    else:
        assert from_bytes(to_bytes(manifest)) == manifest
        assert read_manifest(to_bytes(manifest)) == manifest
