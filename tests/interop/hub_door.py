"""AdapterHub folders through the real commands: saved by `adapters`, imported, asked, exported, loaded again."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
from click.testing import CliRunner

from glossa.main import glossa
from madx.checkpoint import from_safetensors
from madx.plan import Slot
from registry import catalog
from registry.references import parse_reference
from registry.registry import open_registry
from registry.values import Version
from tests.interop.oracle import Oracle

FileKind = Literal["bin", "safetensors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    version: Version
    slot: Slot
    notes: list[str]


@dataclass(slots=True, kw_only=True)
class Door:
    """One home with the oracle's backbone in it."""

    oracle: Oracle
    home: Path
    folders: Path
    _count: int = field(default=0, init=False)

    def new_folder(self) -> Path:
        self._count += 1
        return self.folders / f"folder{self._count}"

    def call(self, *arguments: str | Path) -> Any:
        """A command's JSON. Errors are raised as they are."""
        command = click.Group(commands=dict(glossa.commands))
        result = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)

    def saved(self, name: str, kind: FileKind) -> Path:
        folder = self.new_folder()
        self.oracle.model.save_adapter(str(folder), name, use_safetensors=kind == "safetensors")
        return folder

    def take_in(self, folder: Path, name: str, *options: str) -> Imported:
        """Import, and put the published bytes into the oracle's bank."""
        said = self.call("import", "adapterhub", folder, "--name", name, *options)
        registry = open_registry(self.home)
        try:
            version = catalog.resolve(registry, parse_reference(said["reference"]))
            with registry.store.open(version.weights_digest) as stream:
                weights = stream.read()
        finally:
            registry.close()
        adapter = from_safetensors(weights, version.manifest, self.oracle.loaded.config)
        return Imported(version=version, slot=self.oracle.bank.add(adapter), notes=said["notes"])

    def send_out(self, version: Version, kind: FileKind) -> Path:
        folder = self.new_folder()
        self.call("export", "adapterhub", version.reference, folder, f"--{kind}")
        return folder

    def loaded_again(self, folder: Path, kind: FileKind) -> tuple[Oracle, str]:
        """A fresh model of theirs with the folder's adapter in it, and what it calls it."""
        fresh = Oracle(self.oracle.folder, self.oracle.family)
        options = {} if kind == "bin" else {"use_safetensors": True}
        info: dict[str, Any] = {}
        name = fresh.model.load_adapter(str(folder), loading_info=info, **options)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        fresh.model.eval()
        return fresh, name

    def their_tensors(self, oracle: Oracle, name: str) -> dict[str, Any]:
        return {key: tensor for key, tensor in oracle.model.state_dict().items() if name in key.split(".")}
