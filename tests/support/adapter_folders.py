"""Adapter folders for tests, written as `glossa adapters pull` writes them."""

from pathlib import Path

from glossa.folders import fill_folder
from madx.manifest import from_bytes


def write_folder(folder: Path, manifest: bytes, weights: bytes) -> Path:
    fill_folder(folder, manifest, from_bytes(manifest).weights, lambda start: [weights[start:]])
    return folder
