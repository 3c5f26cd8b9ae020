"""AdapterHub folders through the real commands: saved by `adapters`, imported, asked, exported, loaded again."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner

from glossa.main import glossa
from madx.checkpoint import from_safetensors
from madx.plan import Slot
from registry import catalog
from registry.references import parse_reference
from registry.registry import open_registry
from registry.values import Version
from tests.interop.oracle import Oracle, randomise

FileKind = Literal["bin", "safetensors"]
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BACKBONE_HEAD = "default"


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
        bank = self.oracle.bank
        return Imported(version=version, slot=bank.add(bank.stage(adapter)), notes=said["notes"])

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


def open_door(oracle: Oracle, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    """A new home in `folder` that knows the oracle's backbone."""
    for name in ("DATABASE_URL", "GLOSSA_BLOB_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLOSSA_HOME", str(folder / "home"))
    monkeypatch.setenv("GLOSSA_BACKBONE", str(oracle.folder))
    door = Door(oracle=oracle, home=folder / "home", folders=folder / "folders")
    door.folders.mkdir()
    door.call("backbones", "add", oracle.folder)
    return door


_names = iter(range(10_000))


def add(oracle: Oracle, config: Any, *, head: str | None = None, **options: Any) -> str:
    """An adapter of random weights in their model, and a head of its name."""
    name = f"made{next(_names)}"
    oracle.model.add_adapter(name, config=config)
    if head == "tagging":
        labels = options.pop("labels", LABELS)
        oracle.model.add_tagging_head(name, num_labels=len(labels), id2label=dict(enumerate(labels)), **options)
    elif head == "masked_lm":
        oracle.model.add_masked_lm_head(name)
    own = [
        (key, it) for key, it in oracle.model.named_parameters() if name in key.split(".") and ".3.weight" not in key
    ]
    randomise(own, scale=0.3, seed=len(name) + sum(map(ord, name)))
    oracle.model.eval()
    return name
