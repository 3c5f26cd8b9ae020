"""Attacks in the manifest, and manifests that lie about right weights."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from madx.manifest import Kind, to_bytes
from tests.support.made_adapters import made_manifest

from .attack import LARGE_FINGERPRINT, Attack, changed, on_manifest, right_manifest, right_weights


def manifest_attacks() -> Iterator[Attack]:
    yield from _json()
    yield from _fields()
    yield from _combinations()
    yield from _lies()


def _json() -> Iterator[Attack]:
    right = to_bytes(right_manifest())
    reduction, job = b'"reduction": 2.0', b'"job": null'
    for name, content in {
        "empty": b"",
        "null": b"null",
        "list": b"[]",
        "text": b'"manifest"',
        "no object": b"{",
        "empty object": b"{}",
        "safetensors": right_weights(),
        "YAML": b"kind: !!python/object/apply:os.getcwd []",
        "XML": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "two documents": right + right,
        "byte order mark": b"\xef\xbb\xbf" + right,
        "UTF-16": right.decode().encode("utf-16"),
        "invalid UTF-8": right.replace(b'"made"', b'"\xff"'),
        "surrogate in UTF-8": right.replace(b'"made"', b'"\xed\xa0\x80"'),
        "half of an escaped surrogate pair": right.replace(b'"made"', rb'"\ud800"'),
        "NUL in the JSON": right.replace(b'"made"', b'"\0"'),
        "field twice": right.replace(job, b'"job": null, "job": "a"'),
        "field twice, once escaped": right.replace(job, rb'"job": null, "\u006aob": "a"'),
        "inner field twice": right.replace(reduction, b'"reduction": 2.0, "reduction": 4.0'),
        "NaN": right.replace(reduction, b'"reduction": NaN'),
        "Infinity": right.replace(reduction, b'"reduction": Infinity'),
        "1e999": right.replace(reduction, b'"reduction": 1e999'),
        "number of 5,000 digits": right.replace(reduction, b'"reduction": ' + b"9" * 5_000),
        "fraction of 900,000 digits": right.replace(reduction, b'"reduction": 2.' + b"9" * 900_000),
        "100,000 lists in each other": right.replace(job, b'"job": ' + b"[" * 100_000),
        "900 lists in each other": right.replace(job, b'"job": ' + b"[" * 900 + b"]" * 900),
        "400,000 objects": right.replace(job, b'"job": [{}' + b",{}" * 340_000 + b"]"),
        "field with a long name": right.replace(job, b'"job": null, "' + b"x" * 900_000 + b'": null'),
        "inner field with a long name": right.replace(reduction, b'"' + b"x" * 900_000 + b'": 1, ' + reduction),
        "long language": right.replace(b'"sw"', b'"' + b"x" * 900_000 + b'"'),
        "longer than 1 MiB": right.ljust((1 << 20) + 1),
    }.items():
        yield on_manifest(f"manifest: {name}", partial(bytes, content))


def _fields() -> Iterator[Attack]:
    values: dict[str, tuple[Any, ...]] = {
        "format": ("glossa-adapter/2", "", None, 1),
        "kind": ("head", "Language", None, ["language"], ""),
        "language": (
            "../sw",
            "sw/..",
            "/etc/passwd",
            "sw\0",
            "",
            "Swahili",
            "swa",
            "SW",
            "x" * 300,
            1,
            ["sw"],
            "en--us",
        ),
        "config": (None, [], "pfeiffer"),
        "config.reduction": (1e-9, 0, -1, 0.05, 1e9, 1e308, "2", True, None, [2], {}),
        "config.placement": ("lora", "../pfeiffer", None, 1),
        "config.form": ("paperback", None),
        "config.non_linearity": ("os.system", "relu6", "", None, 1),
        "config.scaling": ("1", None, [1.0], True),
        "config.original_ln_before": ("true", 1, None),
        "config.leave_out": ([2], [-1], [1, 0], [0, 0], ["0"], [0.5], "0", None, [1 << 70], 0),
        "config.invertible.reduction": (1e-9, 0, -2, 100, 1e9),
        "config.invertible.block_type": ("glow", "", None),
        "config.more": (1,),
        "more": (1, None, {"a": {}}),
        "head": ({"type": "tagging", "labels": ["O", "B"]}, {"type": "../tagging"}, {"type": "pickle"}, "masked_lm"),
        "backbone": ("tiny", None, {}),
        "backbone.fingerprint": ("../" * 21 + "a", "A1" * 32, "a1" * 31, "", "a1" * 33, None, 1, "a1" * 31 + "a\n"),
        "backbone.fingerprint_source": ("guessed", None),
        "weights": (None, {}, "weights.safetensors"),
        "weights.digest": ("../" * 21 + "a", "A1" * 32, "", None, "sha256:" + "a1" * 32, "file:///etc/passwd"),
        "weights.size_bytes": ("1", 1.5, None, True, [1], -1, -(1 << 70)),
        "weights.uri": ("s3://bucket/key", "file:///etc/passwd"),
        "datasets": ([{"name": "a"}], "a", [None], {"name": "a"}),
        "method": (None, 1, ["madx"]),
        "hyper_parameters": ([], None, {"a": []}, {"a": {"b": 1}}, "a"),
        "metrics": ({"f1": "1"}, {"f1": None}, {"f1": [1]}, None),
        "parents": ("a", [1], [None], None),
        "job": (1, [], {}),
        "licence": (1, [], {}),
        "library_versions": ({"torch": 2}, [], None),
    }
    for field, wrong in values.items():
        for value in wrong:
            yield on_manifest(f"manifest: {field} {value!r}", partial(changed, {field: value}))


def _combinations() -> Iterator[Attack]:
    invertible = {"block_type": "nice", "reduction": 2.0, "non_linearity": "relu"}
    composition = {"language": "swapped", "leave_out": []}
    tagging = {"type": "tagging", "labels": ["O", "B"], "layers": 1, "activation": "tanh"}
    own_head = {"type": "masked_lm", "labels": [], "layers": 1, "activation": "tanh"}
    combinations: dict[str, tuple[Kind, dict[str, Any]]] = {
        "language adapter without language": ("language", {"language": None}),
        "language adapter with a task": ("language", {"task": "ner"}),
        "language adapter with a composition": ("language", {"composition": composition}),
        "language adapter with a tagging head": ("language", {"head": tagging}),
        "language adapter called task adapter": ("language", {"kind": "task"}),
        "task adapter called language adapter": ("task", {"kind": "language"}),
        "task adapter without task": ("task", {"task": None}),
        "task adapter without head": ("task", {"head": None}),
        "task adapter without composition": ("task", {"composition": None}),
        "task adapter with an invertible adapter": ("task", {"config.invertible": invertible}),
        "task adapter with a masked_lm head": ("task", {"head": own_head}),
        "masked_lm head with labels": ("language", {"head": own_head | {"labels": ["a", "b"]}}),
        "one label": ("task", {"head.labels": ["O"]}),
        "no labels": ("task", {"head.labels": []}),
        "a label twice": ("task", {"head.labels": ["O", "B", "O"]}),
        "labels that are no texts": ("task", {"head.labels": ["O", 1]}),
        "three layers in a head": ("task", {"head.layers": 3}),
        "2^40 layers in a head": ("task", {"head.layers": 1 << 40}),
        "task that is a path": ("task", {"task": "../ner"}),
        "task that is an absolute path": ("task", {"task": "/ner"}),
        "task in capitals": ("task", {"task": "NER"}),
        "task with NUL": ("task", {"task": "ner\0"}),
        "task that is too long": ("task", {"task": "n" * 65}),
        "empty task": ("task", {"task": ""}),
        "pinned language adapter that is a path": ("task", {"composition.language": "../sw@1"}),
        "pinned language adapter without number": ("task", {"composition.language": "sw"}),
        "pinned language adapter at version 0": ("task", {"composition.language": "sw@0"}),
        "pinned language adapter at a foreign digit": ("task", {"composition.language": "sw@\u0661"}),
        "composition without such a layer": ("task", {"composition.leave_out": [2]}),
        "composition with a layer twice": ("task", {"composition.leave_out": [1, 1]}),
        "foreign field in the composition": ("task", {"composition.fuse": ["sw"]}),
    }
    for name, (kind, changes) in combinations.items():
        yield on_manifest(f"manifest: {name}", partial(changed, changes, kind))


def _lies() -> Iterator[Attack]:
    size_bytes = len(right_weights())
    for name, named_bytes, streamed_code in (
        ("no bytes", 0, None),
        ("a byte less", size_bytes - 1, "truncated"),
        ("a byte more", size_bytes + 1, "wrong_offsets"),
        ("a megabyte more", size_bytes + (1 << 20), None),
        ("10 GB", 10_000_000_000, None),
        ("2^62 bytes", 1 << 62, None),
        ("2^70 bytes", 1 << 70, None),
    ):
        content = partial(changed, {"weights.size_bytes": named_bytes})
        yield on_manifest(f"manifest lies: {name}", content, "digest_mismatch", streamed_code)
    for name, code, changes in (
        ("another digest", "digest_mismatch", {"weights.digest": "0" * 64}),
        ("unknown backbone", "unknown_backbone", {"backbone.fingerprint": "d4" * 32}),
        ("another backbone", "wrong_names", {"backbone.fingerprint": LARGE_FINGERPRINT}),
        ("another reduction", "wrong_shape", {"config.reduction": 4.0}),
        ("a layer less", "wrong_names", {"config.leave_out": [1]}),
        ("no invertible adapter", "wrong_names", {"config.invertible": None}),
        ("bottlenecks in both places", "wrong_names", {"config.placement": "houlsby"}),
    ):
        yield on_manifest(f"manifest lies: {name}", partial(changed, changes), code)
    whole = right_weights()
    for place, length in (("header", 100), ("tensors", len(whole) - 100)):
        make = partial(_named, whole, whole[:length])
        yield Attack(name=f"body that stops in the {place}", code="truncated", streamed_code="truncated", make=make)
    goes_on = partial(_named, whole, whole * 2)
    yield Attack(name="body that goes on", code="digest_mismatch", streamed_code="digest_mismatch", make=goes_on)


def _named(named: bytes, sent: bytes) -> tuple[bytes, bytes]:
    return to_bytes(made_manifest(named)), sent
