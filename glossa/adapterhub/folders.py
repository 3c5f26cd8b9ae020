"""AdapterHub's folders: which files they hold, read and written here and nowhere else. Torch-free but for weights."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from registry.durable import write_file

from .bin_weights import bin_bytes, read_bin
from .errors import InvalidHubWeights, NotAHubFolder

if TYPE_CHECKING:
    import torch

WeightsKind = Literal["bin", "safetensors"]

ADAPTER_CONFIG = "adapter_config.json"
HEAD_CONFIG = "head_config.json"
ADAPTER_WEIGHTS: dict[WeightsKind, str] = {"safetensors": "adapter.safetensors", "bin": "pytorch_adapter.bin"}
HEAD_WEIGHTS: dict[WeightsKind, str] = {"safetensors": "model_head.safetensors", "bin": "pytorch_model_head.bin"}
READ_FILES = (ADAPTER_CONFIG, HEAD_CONFIG, *ADAPTER_WEIGHTS.values(), *HEAD_WEIGHTS.values(), "README.md")
_OTHERS = {
    "adapter_setup.json": "a saved setup of several adapters: import the folders inside it one by one",
    "adapter_fusion_config.json": "AdapterFusion's, which is not supported",
}
_MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """What a folder holds; the head's two parts are both there or both None. `notes` are for the user."""

    adapter_config: dict[str, Any]
    adapter_weights: Path
    head_config: dict[str, Any] | None
    head_weights: Path | None
    notes: tuple[str, ...] = ()


def open_folder(folder: Path, *, with_head: bool = True) -> HubFiles:
    """Raises `NotAHubFolder`. Looks for exact names, so that stray files of other systems do not matter."""
    if not folder.is_dir():
        raise NotAHubFolder(f"there is no folder {folder}")
    if not (folder / ADAPTER_CONFIG).is_file():
        for name, what in _OTHERS.items():
            if (folder / name).is_file():
                raise NotAHubFolder(f"{folder} is {what}")
        raise NotAHubFolder(f"{folder} is no AdapterHub folder: it has no {ADAPTER_CONFIG}")
    config = _read_json(folder / ADAPTER_CONFIG)
    if "peft_type" in config:  # its weights have other names; `read_adapter_config` says what it is
        return HubFiles(adapter_config=config, adapter_weights=folder, head_config=None, head_weights=None)
    weights, notes = _find(folder, ADAPTER_WEIGHTS)
    if weights is None:
        raise NotAHubFolder(f"{folder} has no weights: neither {' nor '.join(ADAPTER_WEIGHTS.values())}")
    head_folder = _head_folder(folder) if with_head else None
    if head_folder is None:
        return HubFiles(
            adapter_config=config, adapter_weights=weights, head_config=None, head_weights=None, notes=notes
        )
    head_weights, more = _find(head_folder, HEAD_WEIGHTS)
    has_config = (head_folder / HEAD_CONFIG).is_file()
    if head_weights is None or not has_config:
        missing = HEAD_CONFIG if head_weights is not None else " or ".join(HEAD_WEIGHTS.values())
        raise NotAHubFolder(f"{head_folder} holds half a head: it has no {missing}")
    return HubFiles(
        adapter_config=config,
        adapter_weights=weights,
        head_config=_read_json(head_folder / HEAD_CONFIG),
        head_weights=head_weights,
        notes=(*notes, *more),
    )


def _find(folder: Path, names: Mapping[WeightsKind, str]) -> tuple[Path | None, tuple[str, ...]]:
    found = [folder / name for name in names.values() if (folder / name).is_file()]
    if len(found) > 1:
        return found[0], (f"{found[0].name} was read, {found[1].name} was not",)
    return (found[0] if found else None), ()


def _head_folder(folder: Path) -> Path | None:
    """Where the head lies: beside the adapter, or in the one folder inside that holds a head alone."""
    if _holds_head(folder):
        return folder
    inside = [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and _holds_head(path) and not (path / ADAPTER_CONFIG).is_file()
    ]
    if len(inside) > 1:
        names = ", ".join(path.name for path in inside)
        raise NotAHubFolder(f"{folder} holds several heads ({names}); leave one, or none, beside {ADAPTER_CONFIG}")
    return inside[0] if inside else None


def _holds_head(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (HEAD_CONFIG, *HEAD_WEIGHTS.values()))


def _read_json(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no JSON number")

    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise NotAHubFolder(f"{path} is longer than {_MAX_CONFIG_BYTES} bytes")
    try:
        content = json.loads(path.read_bytes(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise NotAHubFolder(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise NotAHubFolder(f"{path} holds no JSON object")
    return content


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Names and tensors of either kind of file. Raises `InvalidHubWeights`."""
    if path.suffix == ".bin":
        return read_bin(path)
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise InvalidHubWeights(f"{path.name} is no readable safetensors file: {error}") from error


def weights_bytes(tensors: "dict[str, torch.Tensor]", kind: WeightsKind) -> bytes:
    if kind == "bin":
        return bin_bytes(tensors)
    import safetensors.torch

    return safetensors.torch.save(tensors)


def config_bytes(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def write_folder(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Into a folder that is new or empty, in the given order. Raises `NotAHubFolder`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise NotAHubFolder(f"{folder} is not empty; name a new folder")
        for name, content in files:
            write_file(folder / name, content)
    except OSError as error:
        raise NotAHubFolder(f"cannot write {folder}: {error.strerror or error}") from error
