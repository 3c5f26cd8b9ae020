"""An AdapterHub folder -> manifest and weights of ours, numbers unchanged. Publishing them is the caller's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from madx.adapterhub.heads import TaggingLabels, head_config, tagging_labels
from madx.adapterhub.names import from_hub
from madx.config import AdapterConfig, Composition, HeadConfig
from madx.manifest import BackboneRef, JsonScalar, Manifest, WeightsRef, digest_of
from madx.shapes import adapter_shapes
from registry.values import Backbone

from .choices import Decision, Fit, Wishes, choose_backbone, decide
from .content import HubContent, read_content
from .download import Source
from .errors import OtherEmbeddings
from .folders import open_folder, weights_bytes

if TYPE_CHECKING:
    import torch

METHOD = "adapterhub"
"""What an imported version's manifest says of how it was trained: elsewhere, with AdapterHub's library."""
ORIGIN_NAME, ORIGIN_MODEL = "adapterhub.name", "adapterhub.model_name"
ORIGIN_OUTSIDE, ORIGIN_DROPOUT = "adapterhub.outside_label", "adapterhub.dropout"

WordEmbeddings = Callable[[Backbone], "torch.Tensor"]
"""A backbone's word embeddings (V, D); raises where its weights are not at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedAdapter:
    """Ready to publish. `notes` say what was assumed or left behind."""

    manifest: Manifest
    weights: bytes
    notes: tuple[str, ...]


def import_folder(
    source: Source, wishes: Wishes, known: Sequence[Backbone], embeddings: WordEmbeddings, *, named: bool = False
) -> ImportedAdapter:
    """`known` are the backbones to choose from; `named`: the user chose the only one of them.

    Raises the errors of `madx.adapterhub.errors` and of `errors`, `AmbiguousBackbone`, and `InvalidWeights`.
    """
    content = read_content(open_folder(source.folder, with_head=wishes.with_head))
    decision = decide(content.adapter, content.head, wishes, has_inverse=content.has_inverse)
    backbone = choose_backbone(known, _fit(content, decision), named=named, model_name=content.adapter.model_name)
    config = _adapter_config(content, decision)
    labels = _labels(decision, wishes)
    head = None if decision.head is None else head_config(decision.head, labels, backbone.config)
    tensors = _tensors(content, config, head, backbone, embeddings)
    weights = weights_bytes(tensors, "safetensors")
    composition = None if decision.kind == "language" else _composition(wishes, config)
    manifest = Manifest(
        kind=decision.kind,
        config=config,
        head=head,
        composition=composition,
        language=decision.language,
        task=decision.task,
        backbone=BackboneRef(name=backbone.name, fingerprint=backbone.fingerprint, fingerprint_source="asserted"),
        weights=WeightsRef(digest=digest_of(weights), size_bytes=len(weights)),
        method=METHOD,
        hyper_parameters=_origin(content, source, labels),
    )
    notes = (*content.notes, *decision.notes, *_notes(content, decision, manifest, wishes))
    return ImportedAdapter(manifest=manifest, weights=weights, notes=notes)


def _fit(content: HubContent, decision: Decision) -> Fit:
    return Fit(
        family=content.adapter.family,
        hidden_size=content.hidden_size,
        layers=content.layers,
        left_out=content.adapter.config.leave_out,
        vocab_size=None if decision.head is None else content.vocab_size,
    )


def _adapter_config(content: HubContent, decision: Decision) -> AdapterConfig:
    """Task adapters of version 1 name an invertible adapter that they never had."""
    config = content.adapter.config
    if decision.kind == "task" and not content.has_inverse:
        return replace(config, invertible=None)
    return config


def _labels(decision: Decision, wishes: Wishes) -> TaggingLabels | None:
    if decision.head is None or decision.head.type != "tagging":
        return None
    return tagging_labels(decision.head, wishes.labels)


def _composition(wishes: Wishes, config: AdapterConfig) -> Composition:
    """Unless told otherwise MAD-X's: the text's language decides, and layers that the adapter lacks stay bare."""
    leave_out = config.leave_out if wishes.leave_out is None else wishes.leave_out
    language = wishes.composition or "swapped"
    return Composition(language=language, leave_out=() if language == "none" else leave_out)


def _tensors(
    content: HubContent,
    config: AdapterConfig,
    head: HeadConfig | None,
    backbone: Backbone,
    embeddings: WordEmbeddings,
) -> "dict[str, torch.Tensor]":
    """Ours, checked, each with memory of its own, in stored order."""
    import torch

    from madx.checkpoint import check_tensors

    theirs = content.adapter_tensors | (content.head_tensors if head is not None else {})
    ours = from_hub(theirs, config=config, head=head, backbone=backbone.config, naming=content.naming)
    check_tensors(ours, adapter_shapes(config, head, backbone.config))
    decoder = theirs.get(content.naming.tied_decoder)
    if head is not None and head.type == "masked_lm" and decoder is not None:
        _check_decoder(decoder, embeddings(backbone), backbone)
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in ours.items()}


def _check_decoder(decoder: "torch.Tensor", embeddings: "torch.Tensor", backbone: Backbone) -> None:
    """The head's file repeats the output embeddings (V, D). Ours are the backbone's, so they must be the same numbers.

    Raises `OtherEmbeddings`.
    """
    import torch

    own = embeddings.detach().cpu()
    if decoder.shape == own.shape and torch.equal(own.to(decoder.dtype), decoder):
        return
    raise OtherEmbeddings(
        f"the masked_lm head was trained over other word embeddings than {backbone.name}'s: either the adapter is for "
        "another backbone, or --without-head imports it without its head"
    )


def _origin(content: HubContent, source: Source, labels: TaggingLabels | None) -> dict[str, JsonScalar]:
    """Where a version came from, so that it can be found again and written back under its own names."""
    adapter = content.adapter
    origin: dict[str, JsonScalar] = {
        ORIGIN_NAME: adapter.name,
        ORIGIN_MODEL: adapter.model_name,
        "adapterhub.version": adapter.version,
        "adapterhub.repository": source.repository,
        "adapterhub.commit": source.commit,
        ORIGIN_DROPOUT: adapter.dropout or None,
        ORIGIN_OUTSIDE: None if labels is None else labels.outside,
    }
    return {key: value for key, value in origin.items() if value is not None}


def _notes(content: HubContent, decision: Decision, manifest: Manifest, wishes: Wishes) -> Iterator[str]:
    adapter, invertible, composition = content.adapter, manifest.config.invertible, manifest.composition
    if adapter.config.invertible is not None and invertible is None:
        yield "its configuration names an invertible adapter that it does not have, as task adapters of version 1 do"
    if invertible is not None and invertible.non_linearity != manifest.config.non_linearity:
        yield (
            f"its invertible adapter keeps the {invertible.non_linearity} it was trained with; "
            f"`adapters` would run {manifest.config.non_linearity} in it"
        )
    if decision.head is not None and decision.head.is_static and invertible is not None:
        yield "its masked_lm head is of a model that never inverts the invertible adapter; fill-mask here does"
    if composition is not None and wishes.composition is None:
        yield "runs on the adapter of the text's language; --composition none, or NAME@VERSION, says otherwise"
    if composition is not None and composition.leave_out and wishes.leave_out is None:
        layers = ", ".join(map(str, composition.leave_out))
        yield f"it lacks layer {layers}; nor does the language adapter under it act there, unless --leave-out says so"
    if adapter.model_name is not None and _last(adapter.model_name) != _last(manifest.backbone.name):
        yield f"it was made for {adapter.model_name}; {manifest.backbone.name} has its shape, more cannot be checked"


def _last(name: str) -> str:
    return PurePosixPath(name).name.lower()
