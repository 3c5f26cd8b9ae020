"""Adapter folders, `manifest.json` and `adapter.safetensors`: written and read here and nowhere else.

What is read goes to `registry.publish`, whose gate decides whether it is any good. Torch-free.
"""

from dataclasses import dataclass
from pathlib import Path

from madx.errors import GlossaError
from registry.durable import write_file

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "adapter.safetensors"


class NotAnAdapterFolder(GlossaError):
    """A folder that lacks one of an adapter's two files, or cannot be written."""

    code = "not_an_adapter_folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFolder:
    """What a folder holds. `weights` is a path, because the registry streams it."""

    manifest: bytes
    weights: Path


def read_folder(folder: Path) -> AdapterFolder:
    """Raises `NotAnAdapterFolder`."""
    weights = folder / WEIGHTS_FILE
    try:
        manifest = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise NotAnAdapterFolder(
            f"{folder} is no adapter folder: {MANIFEST_FILE} cannot be read ({error.strerror}); "
            "give a folder that `glossa adapters pull` wrote"
        ) from error
    if not weights.is_file():
        raise NotAnAdapterFolder(f"{folder} is no adapter folder: it has no {WEIGHTS_FILE}")
    return AdapterFolder(manifest=manifest, weights=weights)


def write_folder(folder: Path, manifest: bytes, weights: bytes) -> None:
    """Weights first, manifest last, each in one rename, so that a folder with a new manifest is whole.

    Raises `NotAnAdapterFolder` where the folder holds something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        foreign = sorted({path.name for path in folder.iterdir()} - {MANIFEST_FILE, WEIGHTS_FILE})
        if foreign:
            raise NotAnAdapterFolder(f"{folder} holds other files, {foreign[0]} among them; name a new folder")
        write_file(folder / WEIGHTS_FILE, weights)
        write_file(folder / MANIFEST_FILE, manifest)
    except OSError as error:
        raise NotAnAdapterFolder(f"cannot write {folder}: {error.strerror or error}") from error
