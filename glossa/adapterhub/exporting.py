"""A version of ours -> the files of an AdapterHub folder that `adapters` 1.3.0 loads, numbers unchanged."""

from collections.abc import Iterator
from dataclasses import dataclass

from madx.adapterhub.errors import NotExpressible
from madx.adapterhub.names import HubNaming, to_hub
from madx.adapterhub.writing import write_adapter_config, write_head_config
from madx.manifest import JsonScalar, Manifest
from registry.values import Backbone, Version

from .folders import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
    WeightsKind,
    config_bytes,
    weights_bytes,
)
from .importing import METHOD, ORIGIN_DROPOUT, ORIGIN_MODEL, ORIGIN_NAME, ORIGIN_OUTSIDE, WordEmbeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedAdapter:
    """`files` in the order to write them, the adapter's configuration last; `name` is what they call the adapter."""

    name: str
    files: tuple[tuple[str, bytes], ...]
    notes: tuple[str, ...]


def export_version(
    version: Version, weights: bytes, backbone: Backbone, embeddings: WordEmbeddings, *, kind: WeightsKind
) -> ExportedAdapter:
    """Raises `NotExpressible`; a masked_lm head asks `embeddings`, whose errors pass through."""
    import safetensors.torch

    manifest = version.manifest
    if manifest.kind == "task" and manifest.config.form == "paper":
        raise NotExpressible(
            f"{version.reference} is of the form paper (MAD-X eq. (2)), which AdapterHub's library does not compute"
        )
    name = _name(version)
    naming = HubNaming(family=backbone.config.family, adapter=name, head=name)
    head, origin = manifest.head, _origin(manifest)
    model_name = str(origin.get(ORIGIN_MODEL, manifest.backbone.name))
    config = write_adapter_config(
        manifest.config,
        name=name,
        backbone=backbone.config,
        model_name=model_name,
        dropout=float(origin.get(ORIGIN_DROPOUT) or 0.0),
    )
    tied = embeddings(backbone).detach().cpu().clone() if head is not None and head.type == "masked_lm" else None
    tensors = to_hub(
        safetensors.torch.load(weights),
        config=manifest.config,
        head=head,
        backbone=backbone.config,
        naming=naming,
        word_embeddings=tied,
    )
    of_head = {key: tensor for key, tensor in tensors.items() if key.startswith("heads.")}
    of_adapter = {key: tensor for key, tensor in tensors.items() if key not in of_head}
    files = [(ADAPTER_WEIGHTS[kind], weights_bytes(of_adapter, kind))]
    if head is not None:
        spelled = origin.get(ORIGIN_OUTSIDE)
        outside = None if spelled is None else str(spelled)
        written = write_head_config(head, name=name, backbone=backbone.config, model_name=model_name, outside=outside)
        files += [(HEAD_WEIGHTS[kind], weights_bytes(of_head, kind)), (HEAD_CONFIG, config_bytes(written))]
    files.append((ADAPTER_CONFIG, config_bytes(config)))
    return ExportedAdapter(name=name, files=tuple(files), notes=tuple(_notes(manifest)))


def _origin(manifest: Manifest) -> dict[str, JsonScalar]:
    """What the import noted; empty for a version that was trained here."""
    return manifest.hyper_parameters if manifest.method == METHOD else {}


def _name(version: Version) -> str:
    """Its name where it came from, else its language or its name here, in a form that AdapterHub's modules can have."""
    import torch

    ours = version.key if version.kind == "language" else version.name
    name = str(_origin(version.manifest).get(ORIGIN_NAME) or ours).replace(".", "-")
    # There an adapter is an attribute of a module, which has some of these already: Tongan is "to".
    return f"{name}-adapter" if hasattr(torch.nn.ModuleDict(), name) else name


def _notes(manifest: Manifest) -> Iterator[str]:
    composition = manifest.composition
    if composition is None or composition.language == "none":
        return
    below = "the language adapter of the text" if composition.language == "swapped" else composition.language
    layers = f", loaded with leave_out={list(composition.leave_out)}" if composition.leave_out else ""
    yield f"AdapterHub's format does not say so, but it runs on top of {below}{layers}"
