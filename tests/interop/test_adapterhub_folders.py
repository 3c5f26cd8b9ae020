"""Folders that `adapters` writes: imported, asked, exported, loaded by `adapters` again. Equal at every step."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import SeqBnConfig, SeqBnInvConfig

from madx.plan import RowStack
from tests.interop.hub_door import BACKBONE_HEAD, LABELS, Door, FileKind, Imported, add, open_door
from tests.interop.oracle import Oracle, assert_close, assert_differs


@pytest.fixture
def door(oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    return open_door(oracle, tmp_path, monkeypatch)


def assert_same_tensors(door: Door, fresh: Oracle, name: str) -> None:
    """Bit for bit, all of the adapter's and of its head's."""
    before, after = door.their_tensors(door.oracle, name), door.their_tensors(fresh, name)
    assert before.keys() == after.keys()
    assert [key for key, tensor in before.items() if not torch.equal(tensor, after[key])] == []


LANGUAGE_CONFIGS = {
    "published": SeqBnInvConfig(reduction_factor=2),
    "without invertible": SeqBnConfig(reduction_factor=2),
    "gelu": SeqBnInvConfig(reduction_factor=4, non_linearity="gelu"),
    "gelu_new": SeqBnInvConfig(reduction_factor=2, non_linearity="gelu_new", inv_adapter_reduction_factor=4),
    "swish, odd reductions": SeqBnInvConfig(
        reduction_factor=1.5, non_linearity="swish", inv_adapter_reduction_factor=1.25
    ),
    "left out": SeqBnInvConfig(reduction_factor=2, leave_out=[0, 2]),
    "scaled, unnormed": SeqBnInvConfig(reduction_factor=8, scaling=2.5, original_ln_before=False),
}


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
@pytest.mark.parametrize("config", LANGUAGE_CONFIGS.values(), ids=LANGUAGE_CONFIGS.keys())
def test_language_adapter(door: Door, config: Any, kind: FileKind) -> None:
    name = add(door.oracle, config)
    imported = door.take_in(door.saved(name, kind), "lang", "--language", "sw")
    fresh, again = door.loaded_again(door.send_out(imported.version, kind), kind)
    assert again == name
    assert_same_tensors(door, fresh, name)
    rows = door.oracle.rows([1, 12, 40], seed=2)
    stacks = [RowStack(language=imported.slot)] * len(rows)
    hidden, logits = door.oracle.our_hidden(rows, stacks), door.oracle.our_logits(rows, stacks)
    for row, our_hidden, our_logits in zip(rows, hidden, logits, strict=True):
        assert_close(our_hidden, door.oracle.their_hidden(row, (name,)))
        assert_close(our_logits, door.oracle.their_logits(row, (name,), BACKBONE_HEAD))
        assert_close(our_logits, fresh.their_logits(row, (name,), BACKBONE_HEAD))
        assert_differs(our_hidden, door.oracle.their_hidden(row, ()))


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
@pytest.mark.parametrize("invertible", [True, False])
def test_language_adapter_with_a_masked_lm_head(door: Door, invertible: bool, kind: FileKind) -> None:
    config = SeqBnInvConfig(reduction_factor=2) if invertible else SeqBnConfig(reduction_factor=2)
    name = add(door.oracle, config, head="masked_lm")
    imported = door.take_in(door.saved(name, kind), "lang", "--language", "sw")
    assert imported.version.manifest.head is not None
    fresh, again = door.loaded_again(door.send_out(imported.version, kind), kind)
    assert_same_tensors(door, fresh, name)
    rows = door.oracle.rows([1, 12, 40], seed=3)
    for row, ours in zip(rows, door.oracle.our_logits(rows, [RowStack(language=imported.slot)] * 3), strict=True):
        theirs = door.oracle.their_logits(row, (name,), name)
        assert_close(ours, theirs)
        assert_close(ours, fresh.their_logits(row, (again,), again))
        assert_differs(theirs, door.oracle.their_logits(row, (name,), BACKBONE_HEAD))


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
@pytest.mark.parametrize(
    ("config", "head"),
    [
        ({"reduction_factor": 16}, {}),
        ({"reduction_factor": 8, "leave_out": [2]}, {"layers": 2}),
        ({"reduction_factor": 4, "non_linearity": "gelu"}, {"layers": 2, "activation_function": "gelu"}),
        ({"reduction_factor": {"default": 4}}, {"activation_function": None}),
    ],
)
def test_task_adapter_on_a_language_adapter(door: Door, config: Any, head: Any, kind: FileKind) -> None:
    below = add(door.oracle, SeqBnInvConfig(reduction_factor=2))
    above = add(door.oracle, SeqBnConfig(**config), head="tagging", **head)
    language = door.take_in(door.saved(below, kind), "lang", "--language", "sw")
    task = door.take_in(door.saved(above, kind), "ner", "--task", "ner")
    assert task.version.manifest.head is not None
    assert task.version.manifest.head.labels == LABELS
    assert task.version.manifest.backbone.fingerprint_source == "asserted"
    assert task.version.manifest.backbone.fingerprint == door.oracle.loaded.fingerprint
    folder = door.send_out(task.version, kind)
    fresh, again = door.loaded_again(folder, kind)
    assert again == above
    assert_same_tensors(door, fresh, above)
    assert fresh.model.get_labels_dict(above) == door.oracle.model.get_labels_dict(above) == dict(enumerate(LABELS))
    compare_stack(door, fresh, (below, above), language, task, kind)


def compare_stack(
    door: Door, fresh: Oracle, names: tuple[str, str], language: Imported, task: Imported, kind: FileKind
) -> None:
    """With the composition that the import chose for the task adapter, in both libraries."""
    below, above = names
    composition = task.version.manifest.composition
    assert composition is not None
    assert composition.leave_out == task.version.manifest.config.leave_out
    folder = door.send_out(language.version, kind)
    fresh.model.load_adapter(str(folder), leave_out=list(composition.leave_out), use_safetensors=kind == "safetensors")
    fresh.model.eval()
    stack = RowStack(language=language.slot, task=task.slot, leave_out=composition.leave_out)
    rows = door.oracle.rows([1, 12, 40], seed=4)
    for row, ours in zip(rows, door.oracle.our_logits(rows, [stack] * 3), strict=True):
        assert_close(ours, fresh.their_logits(row, (below, above), above))
        if not composition.leave_out:
            assert_close(ours, door.oracle.their_logits(row, (below, above), above))
