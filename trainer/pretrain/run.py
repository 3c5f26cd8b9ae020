"""Pretraining from scratch: text -> vocabulary -> initial weights -> masked-LM steps -> a backbone folder.

The run folder holds the tokenizer and training checkpoints, so that a killed run goes on where it was. What comes out
is a checkpoint as `transformers` writes them, with `pretraining.json` (data, curve, perplexities) beside it.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from scipy.sparse import csr_matrix

from madx.backbone import Backbone
from madx.config import BackboneConfig
from madx.loading import save_backbone
from madx.manifest import DataRef, JsonScalar
from madx.plan import BARE
from madx.tokenizer import TextTokenizer
from registry.durable import write_file

from .. import checkpoints
from ..loop import BatchLoss, Optimisation, Schedule, Step, new_optimizer, train_steps
from ..objectives import masked_lm
from ..seeds import generator_of
from .corpus import Corpus, LanguageText, build_corpus, vocabulary_lines
from .initialise import initialise
from .translations import Translations, line_counts
from .vocabulary import train_vocabulary

TOKENIZER_FILE = "tokenizer.json"
_TIMED_BATCHES = 5
CARD_FILE = "pretraining.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSpec:
    """Shape and budget of a backbone in the XLM-R layout.

    `exponent` is the languages' sampling power; so many rows as `translation_share` says are of translations, if any.
    """

    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    intermediate_size: int = 1024
    vocab_size: int = 16_000
    chunk_tokens: int = 128
    batch_rows: int = 16
    steps: int = 4_000
    peak_learning_rate: float = 1e-3
    warm_up_share: float = 0.03
    weight_decay: float = 0.01
    dropout: float = 0.0
    exponent: float = 0.5
    translation_share: float = 0.3
    vocabulary_characters: int = 1_500_000
    character_coverage: float = 0.9995
    checkpoint_every: int = 500
    compiled: bool = True
    bf16: bool = True
    seed: int = 0

    def backbone_config(self, tokenizer: TextTokenizer) -> BackboneConfig:
        offset = tokenizer.ids.pad + 1
        return BackboneConfig(
            family="xlm-roberta",
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            intermediate_size=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_positions=self.chunk_tokens + offset,
            type_vocab_size=1,
            position_offset=offset,
            pad_token_id=tokenizer.ids.pad,
            layer_norm_eps=1e-5,
            activation="gelu",
        )

    def optimisation(self) -> Optimisation:
        schedule = Schedule(
            peak=self.peak_learning_rate, total=self.steps, warm_up=max(1, round(self.warm_up_share * self.steps))
        )
        return Optimisation(
            schedule=schedule,
            seed=self.seed,
            weight_decay=self.weight_decay,
            betas=(0.9, 0.98),
            epsilon=1e-6,
            bf16=self.bf16,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """What a finished run wrote. `perplexity` is on held-out text, by language."""

    folder: Path
    steps: int
    minutes: float
    perplexity: Mapping[str, float]


def pretrain(
    spec: PretrainSpec,
    texts: Mapping[str, LanguageText],
    data: Mapping[str, DataRef],
    run_folder: Path,
    output: Path,
    *,
    translations: Sequence[Mapping[str, Sequence[str]]] = (),
    device: torch.device,
    on_step: Callable[[Step], None],
    on_phase: Callable[[str], None],
    shard_bytes: int | None = None,
    max_minutes: float | None = None,
) -> Pretrained:
    """Train and write `output`. The learning rate decays over `spec.steps`; `max_minutes` may end the run before.

    Each of `translations` has a text's lines by language: line n means the same in all. `data` names all that is read.
    No file of weights is larger than `shard_bytes`, if given.

    Raises `KeyboardInterrupt` after writing a checkpoint when the caller's `on_step` raises it.
    """
    run_folder.mkdir(parents=True, exist_ok=True)
    on_phase("vocabulary")
    tokenizer = _tokenizer(spec, texts, run_folder / TOKENIZER_FILE)
    on_phase("chunks")
    aligned = [Translations.of(lines, tokenizer) for lines in translations]
    corpus = build_corpus(
        texts,
        tokenizer,
        length=spec.chunk_tokens,
        exponent=spec.exponent,
        translations=aligned,
        translation_share=spec.translation_share,
    )
    backbone = Backbone(spec.backbone_config(tokenizer), dropout=spec.dropout)
    run = _Run(spec=spec, corpus=corpus, backbone=backbone, tokenizer=tokenizer, folder=run_folder)
    on_phase("weights")
    run.start(line_counts(aligned, spec.vocab_size) if aligned else None, device)
    on_phase(f"training: {spec.steps - run.step} steps, about {run.expected_minutes():.1f} minutes")
    run.train(on_step, max_minutes)
    on_phase("evaluation")
    perplexity = run.perplexities()
    save_backbone(backbone, tokenizer, output, dtype=torch.bfloat16, shard_bytes=shard_bytes)
    result = Pretrained(folder=output, steps=run.step, minutes=run.seconds / 60, perplexity=perplexity)
    _write_card(result, spec, corpus, data, run.curve)
    return result


def _tokenizer(spec: PretrainSpec, texts: Mapping[str, LanguageText], path: Path) -> TextTokenizer:
    """The run's tokenizer, trained once."""
    if not path.is_file():
        lines = vocabulary_lines(texts, characters=spec.vocabulary_characters, coverage=spec.character_coverage)
        definition = train_vocabulary(lines, spec.vocab_size).definition
        write_file(path, definition.encode())
    return TextTokenizer(path.read_text(encoding="utf-8"), "xlm-roberta")


class _Run:
    """The mutable middle of a pretraining run: weights, optimizer, step, curve."""

    def __init__(
        self, *, spec: PretrainSpec, corpus: Corpus, backbone: Backbone, tokenizer: TextTokenizer, folder: Path
    ) -> None:
        self._spec = spec
        self._corpus = corpus
        self._backbone = backbone
        self._folder = folder
        self._masking = masked_lm.Masking.of(tokenizer)
        self._settings = spec.optimisation()
        self._optimizer = new_optimizer(backbone.parameters(), self._settings)
        self._encoder = cast(Backbone, torch.compile(backbone, dynamic=False)) if spec.compiled else backbone
        self.step = 0
        self.seconds = 0.0
        self.curve: list[tuple[int, float]] = []

    def start(self, lines: csr_matrix | None, device: torch.device) -> None:
        """From the last checkpoint, or from the beginning."""
        state = checkpoints.load(self._folder)
        if state is None:
            initialise(self._backbone, self._corpus.all_training(), seed=self._spec.seed, lines=lines)
        self._backbone.to(device)
        if state is None:
            return
        checkpoints.restore_trained(state, dict(self._backbone.named_parameters()), self._optimizer)
        self.step = state.step
        self.seconds = float(state.facts["seconds"] or 0.0)
        self.curve = [tuple(point) for point in json.loads(str(state.facts["curve"]))]

    def expected_minutes(self) -> float:
        """Time a few batches, after one that compiles; weights stay as they are."""
        self._backbone.train()
        seconds: list[float] = []
        for number in range(1, _TIMED_BATCHES + 2):
            started = time.perf_counter()
            with torch.autocast(self._backbone.device.type, dtype=torch.bfloat16, enabled=self._spec.bf16):
                measured = self._loss(self._batch(number))
            torch.autograd.backward(measured.loss)
            seconds.append(time.perf_counter() - started)
        self._optimizer.zero_grad(set_to_none=True)
        return statistics.median(seconds[1:]) * (self._spec.steps - self.step) / 60

    def train(self, on_step: Callable[[Step], None], max_minutes: float | None) -> None:
        self._backbone.train()
        started, before = time.monotonic(), self.seconds
        recent: list[float] = []
        steps = train_steps(self._optimizer, self._loss, self._batch, self._settings, done=self.step)
        try:
            for step in steps:
                self.step, self.seconds = step.number, before + time.monotonic() - started
                recent.append(step.loss)
                if step.number % 50 == 0:
                    self.curve.append((step.number, sum(recent) / len(recent)))
                    recent.clear()
                on_step(step)
                if step.number % self._spec.checkpoint_every == 0:
                    self._save()
                if max_minutes is not None and self.seconds > 60 * max_minutes:
                    break
        finally:
            self._save()
        self._backbone.eval()

    def perplexities(self) -> dict[str, float]:
        return {
            code: masked_lm.perplexity(
                self._backbone, {}, BARE, masked_lm.held_out_batches(chunks, self._spec.seed, self._masking)
            )
            for code, chunks in self._corpus.held_out.items()
        }

    def _batch(self, number: int) -> masked_lm.MaskedBatch:
        ids = self._corpus.batch(number, self._spec.batch_rows, self._spec.seed)
        return masked_lm.mask(ids, generator_of(self._spec.seed, "masks", number), self._masking)

    def _loss(self, batch: masked_lm.MaskedBatch) -> BatchLoss:
        loss = masked_lm.loss(self._encoder, {}, BARE, batch.to(self._backbone.device))
        return BatchLoss(loss=loss, tokens=batch.corrupted.numel())

    def _save(self) -> None:
        tensors = checkpoints.trained_tensors(dict(self._backbone.named_parameters()), self._optimizer)
        facts: dict[str, JsonScalar] = {"seconds": self.seconds, "curve": json.dumps(self.curve)}
        checkpoints.save(self._folder, checkpoints.TrainingState(step=self.step, tensors=tensors, facts=facts))


def _write_card(
    result: Pretrained,
    spec: PretrainSpec,
    corpus: Corpus,
    data: Mapping[str, DataRef],
    curve: list[tuple[int, float]],
) -> None:
    card = {
        "spec": asdict(spec),
        "steps": result.steps,
        "minutes": round(result.minutes, 1),
        "held_out_perplexity": {code: round(value, 2) for code, value in result.perplexity.items()},
        "training_chunks": {code: len(chunks) for code, chunks in corpus.training.items()},
        "translation_chunks": 0 if corpus.translations is None else len(corpus.translations),
        "data": {code: asdict(ref) for code, ref in data.items()},
        "curve": [[step, round(loss, 4)] for step, loss in curve],
    }
    (result.folder / CARD_FILE).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
