"""Tiny random backbones and adapters, real in every respect but their size: what tests of all packages run on.

A backbone folder is what `save_pretrained` writes, with a `tokenizer.json` whose vocabulary is made here.
"""

import io
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from madx.adapter import Adapter
from madx.checkpoint import to_safetensors, with_weights
from madx.config import AdapterConfig, BackboneConfig, Composition, Family, HeadConfig, language_config, task_config
from madx.loading import LoadedBackbone
from madx.manifest import BackboneRef, Manifest, WeightsRef, digest_of, to_bytes

if TYPE_CHECKING:
    from registry.registry import Registry
    from registry.values import Version

MAX_TOKENS = 128
NER_LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")
_TEXT = (
    "the cat sat on a mat in old Nairobi Juma lives Amina works for Acme of London and Paris "
    "paka anaishi mji wa Kenya na Tanzania yeye ni mtu mzuri sana leo kesho jana nyumba"
)
WORDS = tuple(_TEXT.split())
_LETTERS = string.ascii_letters + string.digits + string.punctuation + "áéíóúñçäöü’–"


def make_backbone(
    folder: Path,
    family: Family = "xlm-roberta",
    *,
    masked_lm: bool = True,
    seed: int = 7,
    words: Sequence[str] = WORDS,
    max_tokens: int = MAX_TOKENS,
) -> Path:
    """Two layers of width 32 with random weights; the seed decides them, and so the fingerprint."""
    import transformers

    tokenizer = _bert_tokenizer(words) if family == "bert" else _roberta_tokenizer(words)
    auto: Any = transformers.AutoModelForMaskedLM if masked_lm else transformers.AutoModel
    model = auto.from_config(_hub_config(family, tokenizer.get_vocab_size(), max_tokens))
    _randomise(model.named_parameters(), scale=0.25, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _hub_config(family: Family, vocab_size: int, max_tokens: int) -> Any:
    import transformers

    shape: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    if family == "bert":
        return transformers.BertConfig(**shape, max_position_embeddings=max_tokens, type_vocab_size=2, pad_token_id=0)
    return transformers.AutoConfig.for_model(
        family,
        **shape,
        max_position_embeddings=max_tokens + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def _roberta_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Unigram pieces with word boundaries written "▁": each of `words`, and single signs for all else."""
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0)]
    vocabulary += [(f"▁{word}", -4.0) for word in dict.fromkeys(words)]
    vocabulary += [(letter, -6.0) for letter in _LETTERS]
    vocabulary.append(("<mask>", 0.0))
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    return tokenizer


def _bert_tokenizer(words: Sequence[str]) -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *words, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)])
    tokenizer = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    return tokenizer


@torch.no_grad()
def _randomise(named: Iterable[tuple[str, torch.Tensor]], *, scale: float, seed: int) -> None:
    """Large enough that a misplaced tensor shows; the libraries' own N(0, 0.02) hides much."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in named:
        noise = torch.randn(tensor.shape, generator=generator)
        is_norm = name.endswith(("LayerNorm.weight", "layer_norm.weight", "norm.weight"))
        tensor.copy_(1.0 + 0.3 * noise if is_norm else scale * noise)


def make_adapter(
    backbone: BackboneConfig, config: AdapterConfig, *, head: HeadConfig | None = None, seed: int = 0
) -> Adapter:
    """Random weights, far from the identity."""
    adapter = Adapter(config, head, backbone)
    _randomise(adapter.named_parameters(), scale=0.3, seed=seed)
    return adapter.requires_grad_(False).eval()


def language_checkpoint(
    loaded: LoadedBackbone,
    language: str,
    *,
    config: AdapterConfig | None = None,
    head: HeadConfig | None = None,
    seed: int = 0,
) -> tuple[bytes, bytes]:
    """Manifest and weights of a language adapter, as bytes."""
    config = language_config() if config is None else config
    weights = to_safetensors(make_adapter(loaded.config, config, head=head, seed=seed))
    manifest = Manifest(
        kind="language",
        config=config,
        head=head,
        language=language,
        backbone=BackboneRef(name=loaded.name, fingerprint=loaded.fingerprint),
        weights=WeightsRef(digest=digest_of(weights), size_bytes=len(weights)),
        method="madx",
    )
    return to_bytes(with_weights(manifest, weights)), weights


def task_checkpoint(
    loaded: LoadedBackbone,
    *,
    task: str = "ner",
    language: str | None = None,
    labels: Sequence[str] = NER_LABELS,
    config: AdapterConfig | None = None,
    composition: Composition | None = None,
    seed: int = 0,
) -> tuple[bytes, bytes]:
    """Manifest and weights of a task adapter with a tagging head, as bytes; `language` if it names one."""
    config = task_config(reduction=4) if config is None else config
    head = HeadConfig(type="tagging", labels=tuple(labels))
    weights = to_safetensors(make_adapter(loaded.config, config, head=head, seed=seed))
    manifest = Manifest(
        kind="task",
        config=config,
        head=head,
        composition=Composition() if composition is None else composition,
        task=task,
        language=language,
        backbone=BackboneRef(name=loaded.name, fingerprint=loaded.fingerprint),
        weights=WeightsRef(digest=digest_of(weights), size_bytes=len(weights)),
        method="madx",
    )
    return to_bytes(with_weights(manifest, weights)), weights


def register_backbone(registry: "Registry", loaded: LoadedBackbone) -> None:
    from registry import catalog

    catalog.add_backbone(
        registry,
        fingerprint=loaded.fingerprint,
        name=loaded.name,
        config=loaded.config,
        masked_lm=loaded.backbone.masked_lm is not None,
    )


def publish_adapter(registry: "Registry", name: str, checkpoint: tuple[bytes, bytes]) -> "Version":
    """Through the real gate; the backbone must be in the registry already."""
    from registry.publish import publish

    manifest, weights = checkpoint
    return publish(registry, manifest, io.BytesIO(weights), name=name).version
