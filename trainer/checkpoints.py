"""Training checkpoints: one safetensors file and one JSON file that names it by digest. No pickle.

The JSON file is replaced last and in one rename, so a kill at any moment leaves the previous checkpoint or the new one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from madx.manifest import JsonScalar, digest_of
from registry.durable import write_file

from .errors import DamagedCheckpoint

STATE_FILE = "state.json"
FORMAT = "glossa-training/1"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """A run between two steps. `tensors` are named by the owner; `facts` are scalars such as the best score."""

    step: int
    tensors: dict[str, torch.Tensor]
    facts: dict[str, JsonScalar] = field(default_factory=dict)


def save(folder: Path, state: TrainingState) -> None:
    """Write `state` durably and drop the one before. The folder belongs to one run and one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    )
    digest = digest_of(content)
    name = f"step-{state.step}-{digest[:16]}.safetensors"
    written = {"format": FORMAT, "step": state.step, "tensors": name, "sha256": digest, "facts": state.facts}
    write_file(folder / name, content)
    write_file(folder / STATE_FILE, json.dumps(written, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n")
    for old in folder.glob("step-*.safetensors*"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load(folder: Path) -> TrainingState | None:
    """The checkpoint in `folder`, or None where none was ever finished. Raises `DamagedCheckpoint`."""
    try:
        text = (folder / STATE_FILE).read_bytes()
    except FileNotFoundError:
        return None
    try:
        written = json.loads(text)
        if written["format"] != FORMAT:
            raise ValueError(f"format {written['format']!r}")
        step, name, digest, facts = int(written["step"]), str(written["tensors"]), written["sha256"], written["facts"]
        content = (folder / Path(name).name).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, f"{STATE_FILE} or the file it names cannot be read: {error}") from error
    if digest_of(content) != digest:
        raise _damaged(folder, f"{name} has another sha256 than {STATE_FILE} says")
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise _damaged(folder, f"{name}: {error}") from error
    return TrainingState(step=step, tensors=tensors, facts=facts)


def _damaged(folder: Path, reason: str) -> DamagedCheckpoint:
    return DamagedCheckpoint(
        f"the training checkpoint in {folder} is damaged: {reason}; delete the folder to start anew"
    )


def clear(folder: Path) -> None:
    """Drop the checkpoint of a run that is done."""
    (folder / STATE_FILE).unlink(missing_ok=True)
    for file in folder.glob("step-*.safetensors*"):
        file.unlink(missing_ok=True)


def trained_tensors(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Weights and both moments under `weights.NAME`, `exp_avg.NAME` and `exp_avg_sq.NAME`."""
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        tensors[f"weights.{name}"] = parameter.detach()
        moments = optimizer.state.get(parameter, {})
        tensors.update({f"{moment}.{name}": moments[moment] for moment in _MOMENTS if moment in moments})
    return tensors


def restore_trained(
    state: TrainingState, parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """The reverse of `trained_tensors`, in place. Raises `DamagedCheckpoint` if a tensor is missing or misshapen."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(_tensor(state, f"weights.{name}", parameter))
            if f"exp_avg.{name}" in state.tensors:
                moments = {moment: _tensor(state, f"{moment}.{name}", parameter) for moment in _MOMENTS}
                step = torch.tensor(float(state.step), device=parameter.device)
                optimizer.state[parameter] = {"step": step, **moments}


def _tensor(state: TrainingState, name: str, parameter: torch.nn.Parameter) -> torch.Tensor:
    tensor = state.tensors.get(name)
    if tensor is None or tensor.shape != parameter.shape:
        found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
        raise DamagedCheckpoint(
            f"{name} is {found} in the training checkpoint; it is another run's: delete its folder to start anew"
        )
    return tensor.to(parameter.device, parameter.dtype)
