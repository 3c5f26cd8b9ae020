"""A home that a server can serve: a random backbone of some shape and published adapters of many languages and tasks.

Everything goes through the registry and its gate, as it would on a user's machine. Weights are stored in bfloat16.
"""

import io
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase

import torch

from madx.checkpoint import to_safetensors
from madx.config import BackboneConfig, Composition
from madx.errors import InvalidConfig
from madx.loading import LoadedBackbone, load_backbone
from madx.manifest import BackboneRef, Manifest, WeightsRef, canonical_language, digest_of, to_bytes
from registry import catalog
from registry.publish import publish
from registry.registry import Registry, open_registry
from registry.values import Version

from .shapes import HEAD, LANGUAGE, TASK, random_language, random_task

TASK_NAME = "ner"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`languages` and `tasks` are versions by rank; an adapter is named `lang-CODE` or `ner-RANK`."""

    backbone: Path
    home: Path
    shape: BackboneConfig
    languages: tuple[Version, ...]
    tasks: tuple[Version, ...]
    blob_url: str | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a server on it."""
        store = {} if self.blob_url is None else {"GLOSSA_BLOB_URL": self.blob_url}
        return {"GLOSSA_HOME": str(self.home), "GLOSSA_BACKBONE": str(self.backbone)} | store


def language_codes(count: int) -> list[str]:
    """BCP 47 languages of two letters, in alphabetic order; there are more than 180."""
    return list(
        islice((code for code in map("".join, product(ascii_lowercase, repeat=2)) if _is_language(code)), count)
    )


def _is_language(code: str) -> bool:
    try:
        return canonical_language(code) == code
    except InvalidConfig:
        return False


def make_world(home: Path, backbone: Path, *, languages: int, tasks: int, blob_url: str | None = None) -> World:
    """A home for the checkpoint in `backbone`."""
    loaded = load_backbone(backbone)
    registry = open_registry(home, blob_url=blob_url)
    try:
        catalog.add_backbone(
            registry, fingerprint=loaded.fingerprint, name=loaded.name, config=loaded.config, masked_lm=True
        )
        press = _Press(registry=registry, loaded=loaded)
        return World(
            backbone=backbone,
            home=home,
            shape=loaded.config,
            languages=tuple(press.language(code, rank) for rank, code in enumerate(language_codes(languages))),
            tasks=tuple(press.task(f"{TASK_NAME}-{rank}", rank) for rank in range(tasks)),
            blob_url=blob_url,
        )
    finally:
        registry.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Press:
    """Makes adapters of random weights and publishes them."""

    registry: Registry
    loaded: LoadedBackbone

    def language(self, code: str, rank: int) -> Version:
        weights = to_safetensors(random_language(self.loaded.config, rank), dtype=torch.bfloat16)
        manifest = Manifest(
            kind="language",
            config=LANGUAGE,
            language=code,
            backbone=self._backbone,
            weights=_described(weights),
            method="madx",
        )
        return self._publish(f"lang-{code}", manifest, weights)

    def task(self, name: str, rank: int) -> Version:
        weights = to_safetensors(random_task(self.loaded.config, rank), dtype=torch.bfloat16)
        manifest = Manifest(
            kind="task",
            config=TASK,
            head=HEAD,
            composition=Composition(),
            task=TASK_NAME,
            backbone=self._backbone,
            weights=_described(weights),
            method="madx",
        )
        return self._publish(name, manifest, weights)

    @property
    def _backbone(self) -> BackboneRef:
        return BackboneRef(name=self.loaded.name, fingerprint=self.loaded.fingerprint)

    def _publish(self, name: str, manifest: Manifest, weights: bytes) -> Version:
        return publish(self.registry, to_bytes(manifest), io.BytesIO(weights), name=name).version


def _described(weights: bytes) -> WeightsRef:
    return WeightsRef(digest=digest_of(weights), size_bytes=len(weights))
