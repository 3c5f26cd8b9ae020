"""Training checkpoints: what was saved comes back, and what is damaged is refused."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.checkpoints import STATE_FILE, TrainingState, clear, load, restore_trained, save, trained_tensors
from trainer.errors import DamagedCheckpoint


def state(step: int) -> TrainingState:
    return TrainingState(
        step=step, tensors={"weights.a": torch.full((2, 3), float(step))}, facts={"seed": 3, "best": 0.1 + 0.2}
    )


def tensor_file(folder: Path) -> Path:
    (file,) = folder.glob("*.safetensors")
    return file


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "missing") is None


def test_a_checkpoint_comes_back_whole_and_alone(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    save(tmp_path, state(2))
    found = load(tmp_path)
    assert found is not None
    assert (found.step, found.facts) == (2, {"seed": 3, "best": 0.1 + 0.2})
    assert torch.equal(found.tensors["weights.a"], torch.full((2, 3), 2.0))
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]
    clear(tmp_path)
    assert load(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_kill_before_the_last_rename_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    save(tmp_path, state(1))
    before = (tmp_path / STATE_FILE).read_bytes()
    old = tensor_file(tmp_path)
    old_content = old.read_bytes()
    save(tmp_path, state(2))
    # The order of writing: tensors, then state.json, then the old tensors go. Undo all after the first.
    (tmp_path / STATE_FILE).write_bytes(before)
    old.write_bytes(old_content)
    (tmp_path / f"{STATE_FILE}.part").write_bytes(b"{")
    found = load(tmp_path)
    assert found is not None
    assert found.step == 1
    save(tmp_path, state(3))
    assert tensor_file(tmp_path).name.startswith("step-3-")


def damage_bytes(folder: Path) -> None:
    content = bytearray(tensor_file(folder).read_bytes())
    content[-1] ^= 1
    tensor_file(folder).write_bytes(content)


def damage_length(folder: Path) -> None:
    tensor_file(folder).write_bytes(tensor_file(folder).read_bytes()[:-4])


def damage_missing(folder: Path) -> None:
    tensor_file(folder).unlink()


def damage_state(folder: Path) -> None:
    (folder / STATE_FILE).write_bytes(b'{"format": "glossa-tr')


def damage_format(folder: Path) -> None:
    fields = json.loads((folder / STATE_FILE).read_bytes())
    (folder / STATE_FILE).write_text(json.dumps(fields | {"format": "another/9"}))


@pytest.mark.parametrize("damage", [damage_bytes, damage_length, damage_missing, damage_state, damage_format])
def test_damage_is_refused_with_what_to_do(tmp_path: Path, damage: object) -> None:
    save(tmp_path, state(1))
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(DamagedCheckpoint, match="delete the folder"):
        load(tmp_path)


def trained() -> tuple[nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def steps(model: nn.Linear, optimizer: torch.optim.AdamW, count: int) -> None:
    for number in range(count):
        optimizer.zero_grad()
        model(torch.full((1, 3), float(number + 1))).square().sum().backward()
        optimizer.step()


def test_moments_and_their_count_come_back(tmp_path: Path) -> None:
    model, optimizer = trained()
    steps(model, optimizer, 3)
    save(tmp_path, TrainingState(step=3, tensors=trained_tensors(dict(model.named_parameters()), optimizer)))
    steps(model, optimizer, 2)

    other, fresh = trained()
    found = load(tmp_path)
    assert found is not None
    restore_trained(found, dict(other.named_parameters()), fresh)
    steps(other, fresh, 2)
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(other.bias, model.bias)


def test_another_runs_tensors_are_refused(tmp_path: Path) -> None:
    model, optimizer = trained()
    tensors = trained_tensors({"weight": nn.Parameter(model.weight)}, optimizer)
    found = TrainingState(step=1, tensors=tensors)
    with pytest.raises(DamagedCheckpoint, match=r"weights\.bias is missing"):
        restore_trained(found, dict(model.named_parameters()), optimizer)
    with pytest.raises(DamagedCheckpoint, match="of shape"):
        restore_trained(found, {"weight": nn.Parameter(torch.zeros(5, 5))}, optimizer)
