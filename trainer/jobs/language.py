"""The `language` job: one language's text -> an adapter trained by masked LM (MAD-X), best by held-out perplexity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from madx.adapter import Adapter
from madx.config import AdapterConfig, HeadConfig, InvertibleConfig
from madx.errors import NoMaskedLMHead
from madx.loading import LoadedBackbone
from madx.manifest import BackboneRef, Manifest
from madx.plan import BARE, RowStack
from madx.stack import Adapters
from registry.datasets.locate import LocatedFile
from registry.datasets.readers.reading import sentences_of
from registry.values import Version

from ..adapters import (
    check_publishable,
    hyper_parameters,
    library_versions,
    new_adapter,
    publish_adapter,
    weights_to_come,
)
from ..holdout import part
from ..loop import BatchLoss, Optimisation
from ..methods import madx
from ..methods.madx import Trainee
from ..objectives import masked_lm
from ..objectives.masked_lm import Chunks, MaskedBatch, Masking
from ..recipe import LanguageRecipe, layers_from_end
from ..run import Assessment, Course, Outcome, Watcher, pursue
from ..seeds import ShuffledOrder, generator_of
from .optimisation import optimisation
from .workplace import Workplace, once, run_folder, training_dropout

_LEAST_HELD_OUT_CHUNKS = 4
_TOKENISED_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSpec:
    """One language adapter to train. `language` is canonical; `data` a catalogue name or a text file's path."""

    name: str
    language: str
    data: str
    recipe: LanguageRecipe
    recipe_name: str = "own"
    seed: int = 1
    invertible: bool = True
    train_head: bool = False
    max_minutes: float | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    train: Chunks
    held_out: Chunks


def train_language(place: Workplace, spec: LanguageSpec, watcher: Watcher) -> Version:
    """Train, or go on training, and publish. A run that is finished gives its version at once.

    Raises `Interrupted`, `NoMaskedLMHead`, and what data, recipe and registry raise.
    """
    loaded = place.loaded
    if loaded.backbone.masked_lm is None:
        raise NoMaskedLMHead(
            f"{loaded.name} has no masked-LM head, which language training needs; use another backbone"
        )
    check_publishable(place.registry, loaded, spec.name, kind="language", language=spec.language, task=None)
    file = place.data.locate(spec.data, "train", task="text", language=spec.language)
    folder = run_folder(place, spec.name, spec, (file,))

    def work() -> Version:
        adapter = new_adapter(_config(spec, loaded), _head(spec), loaded, seed=spec.seed)
        text = _read(spec.recipe, file, loaded)
        course = _course(spec, loaded, madx.train_language(adapter), text)
        with training_dropout(loaded.backbone, spec.recipe.optimiser.dropout):
            outcome = pursue(course, folder, watcher)
        adapter.load_state_dict(outcome.best)
        return publish_adapter(place.registry, spec.name, _manifest(spec, loaded, adapter, file, outcome), adapter)

    return once(place, folder, work)


def _config(spec: LanguageSpec, loaded: LoadedBackbone) -> AdapterConfig:
    return AdapterConfig(
        reduction=spec.recipe.reduction,
        leave_out=layers_from_end(spec.recipe.leave_out, loaded.config.num_layers),
        invertible=InvertibleConfig() if spec.invertible else None,
    )


def _head(spec: LanguageSpec) -> HeadConfig | None:
    return HeadConfig(type="masked_lm") if spec.train_head else None


def _read(recipe: LanguageRecipe, file: LocatedFile, loaded: LoadedBackbone) -> _Text:
    """Lines -> pieces -> held-out and training chunks."""
    lines = list(sentences_of(file))
    pieces: list[list[int]] = []
    for first in range(0, len(lines), _TOKENISED_LINES):
        pieces.extend(loaded.tokenizer.encode_batch(lines[first : first + _TOKENISED_LINES]))
    length = min(recipe.length, loaded.config.max_tokens)
    # A line adds its end token; a chunk loses its two ends, and the last chunk is dropped, hence one more.
    sizes = [len(ids) + 1 for ids in pieces]
    body = length - 2
    parting = part(
        lines,
        sizes,
        share=recipe.held_out_share,
        least=_LEAST_HELD_OUT_CHUNKS * body,
        most=max(_LEAST_HELD_OUT_CHUNKS, recipe.held_out_chunks) * body,
    )

    def chunks(numbers: Sequence[int]) -> Chunks:
        return masked_lm.pack_chunks((pieces[number] for number in numbers), length, loaded.tokenizer.ids)

    return _Text(train=chunks(parting.train), held_out=chunks(parting.held_out))


def _course(spec: LanguageSpec, loaded: LoadedBackbone, trainee: Trainee, text: _Text) -> Course[MaskedBatch]:
    recipe, backbone = spec.recipe, loaded.backbone
    masking = Masking.of(loaded.tokenizer, probability=recipe.mask_probability)
    order = ShuffledOrder(size=len(text.train), batch=recipe.batch, seed=spec.seed)
    held_out = list(masked_lm.held_out_batches(text.held_out, spec.seed, masking))

    def batch_at(number: int) -> MaskedBatch:
        ids = torch.from_numpy(text.train[order.at(number)].astype(np.int64))
        return masked_lm.mask(ids, generator_of(spec.seed, "masks", number), masking).to(backbone.device)

    def loss_of(batch: MaskedBatch) -> BatchLoss:
        backbone.train()
        loss = masked_lm.loss(backbone, trainee.adapters, trainee.stack, batch)
        return BatchLoss(loss=loss, tokens=batch.corrupted.numel())

    def assess(adapters: Adapters, stack: RowStack) -> Assessment:
        perplexity = masked_lm.perplexity(backbone, adapters, stack, held_out)
        backbone.eval()
        return Assessment(score=-perplexity, metrics={"perplexity": perplexity})

    def settings(steps: int) -> Optimisation:
        return optimisation(recipe.optimiser, steps=steps, seed=spec.seed, device=backbone.device)

    return Course(
        parameters=dict(trainee.trained.named_parameters()),
        loss_of=loss_of,
        batch_at=batch_at,
        baseline=lambda: assess({}, BARE),
        assess=lambda: assess(trainee.adapters, trainee.stack),
        settings=settings,
        steps=recipe.total_steps(len(text.train)),
        evaluate_every=recipe.evaluate_every,
        patience=recipe.patience,
        max_minutes=spec.max_minutes,
    )


def _manifest(
    spec: LanguageSpec, loaded: LoadedBackbone, adapter: Adapter, file: LocatedFile, outcome: Outcome
) -> Manifest:
    return Manifest(
        kind="language",
        config=adapter.config,
        head=adapter.head_config,
        language=spec.language,
        backbone=BackboneRef(name=loaded.name, fingerprint=loaded.fingerprint),
        weights=weights_to_come(),
        datasets=(file.data_ref(),),
        method=madx.NAME,
        hyper_parameters=hyper_parameters(
            spec.recipe, recipe=spec.recipe_name, seed=spec.seed, train_head=spec.train_head
        ),
        metrics={
            "perplexity_before": outcome.baseline["perplexity"],
            "perplexity": outcome.metrics["perplexity"],
            **outcome.measures(),
        },
        licence=spec.licence,
        library_versions=library_versions(),
    )
