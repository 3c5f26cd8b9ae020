"""Adapters between memory and registry: initial weights for a run, versions to build on or evaluate, and publishing."""

import importlib.metadata
import io
from dataclasses import asdict, dataclass

import torch

from madx.adapter import Adapter
from madx.checkpoint import from_safetensors, to_safetensors, with_weights
from madx.config import AdapterConfig, HeadConfig
from madx.loading import LoadedBackbone
from madx.manifest import JsonScalar, Kind, Manifest, WeightsRef, to_bytes
from registry import catalog
from registry.errors import Conflict, UnknownAdapter
from registry.publish import publish
from registry.references import check_name, parse_reference
from registry.registry import Registry
from registry.values import Version

from .errors import WrongKind
from .recipe import LanguageRecipe, TaskRecipe
from .seeds import seed_of

_LIBRARIES = ("glossa-server", "torch", "transformers", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedAdapter:
    """A registry version with its weights as a frozen module on the backbone's device."""

    version: Version
    adapter: Adapter


def new_adapter(config: AdapterConfig, head: HeadConfig | None, loaded: LoadedBackbone, *, seed: int) -> Adapter:
    """Initial weights by seed, ready to train. A masked_lm head starts as a copy of the backbone's."""
    torch.manual_seed(seed_of(seed, "initial weights"))
    adapter = Adapter(config, head, loaded.config)
    if head is not None and head.type == "masked_lm":
        assert adapter.head is not None
        assert loaded.backbone.masked_lm is not None
        adapter.head.load_state_dict(loaded.backbone.masked_lm.state_dict())
    return adapter.to(loaded.backbone.device)


def load_adapter(registry: Registry, reference: str, loaded: LoadedBackbone, *, kind: Kind) -> PublishedAdapter:
    """Raises what `catalog.resolve` does, `WrongBackbone` among it, `WrongKind` and `InvalidWeights`."""
    version = catalog.resolve(registry, parse_reference(reference), fingerprint=loaded.fingerprint)
    if version.kind != kind:
        raise WrongKind(f"{version.reference} is a {version.kind} adapter, but a {kind} adapter is needed here")
    with registry.store.open(version.weights_digest) as stream:
        weights = stream.read()
    adapter = from_safetensors(weights, version.manifest, loaded.config)
    return PublishedAdapter(version=version, adapter=adapter.to(loaded.backbone.device))


def check_publishable(
    registry: Registry, loaded: LoadedBackbone, name: str, *, kind: Kind, language: str | None, task: str | None
) -> None:
    """Refuse before training what `publish` would refuse after it, and make the backbone known.

    Raises `InvalidName`, `Conflict`.
    """
    check_name(name)
    catalog.add_backbone(
        registry,
        fingerprint=loaded.fingerprint,
        name=loaded.name,
        config=loaded.config,
        masked_lm=loaded.backbone.masked_lm is not None,
    )
    try:
        existing = catalog.show(registry, name)
    except UnknownAdapter:
        return
    if (existing.kind, existing.language, existing.task) != (kind, language, task):
        raise Conflict(
            f"{name!r} is already the name of a {existing.kind} adapter for {existing.task or existing.language}; "
            "choose another name"
        )


def publish_adapter(registry: Registry, name: str, manifest: Manifest, adapter: Adapter) -> Version:
    """Store weights and manifest. The same content under the same name is the same version."""
    weights = to_safetensors(adapter)
    content = to_bytes(with_weights(manifest, weights))
    return publish(registry, content, io.BytesIO(weights), name=name).version


def weights_to_come() -> WeightsRef:
    """What a manifest says of weights until `publish_adapter` names them."""
    return WeightsRef(digest="0" * 64, size_bytes=0)


def library_versions() -> dict[str, str]:
    """Of what decides the numbers, where it is installed as a distribution."""
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    return {library: importlib.metadata.version(library) for library in _LIBRARIES if library in installed}


def hyper_parameters(recipe_values: LanguageRecipe | TaskRecipe, **more: JsonScalar) -> dict[str, JsonScalar]:
    """A recipe's fields, flat under dotted names, sequences as text, and `more` beside them."""
    flat: dict[str, JsonScalar] = {}
    _flatten(asdict(recipe_values), "", flat)
    return flat | more


def _flatten(fields: dict[str, object], prefix: str, flat: dict[str, JsonScalar]) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{name}.", flat)
        elif value is None or isinstance(value, str | int | float | bool):
            flat[prefix + name] = value
        else:
            flat[prefix + name] = ",".join(map(str, value))  # type: ignore[call-overload]
