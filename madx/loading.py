"""A Hugging Face checkpoint -> backbone, tokenizer and fingerprint. The only file that imports `transformers`.

Safetensors only; a `.bin`-only checkpoint is converted once, on the user's own machine, by `convert_backbone`. A
checkpoint is never written to.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import safetensors
import torch
import transformers

from .backbone import Backbone
from .config import BackboneConfig
from .errors import BackboneUnavailable
from .families import FAMILIES, backbone_config, hub_config_fields, tensor_names
from .fingerprint import fingerprint
from .manifest import Digest
from .tokenizer import FILE_NAME, TextTokenizer, read_tokenizer

# What a damaged or foreign checkpoint makes the libraries raise.
_FOREIGN_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    safetensors.SafetensorError,
    huggingface_hub.errors.StrictDataclassError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedBackbone:
    """A frozen backbone in evaluation mode, ready to run."""

    name: str
    fingerprint: Digest
    config: BackboneConfig
    backbone: Backbone
    tokenizer: TextTokenizer


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Its reports of missing and unused tensors are turned into our own errors."""
    before, had_bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity(logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        if had_bars:
            transformers.logging.enable_progress_bar()


def resolve_folder(source: str) -> Path:
    """A local folder as it is, or a hub name's files fetched to the local cache. Raises `BackboneUnavailable`."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise BackboneUnavailable(f"there is no folder {source}")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                source, allow_patterns=["config.json", FILE_NAME, "*.safetensors", "*.safetensors.index.json"]
            )
        )
    except (huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.HFValidationError, OSError) as error:
        raise BackboneUnavailable(
            f"{source} is neither a folder nor a model that the hub gives ({type(error).__name__}); "
            "give a folder with config.json, tokenizer.json and *.safetensors"
        ) from error


def load_backbone(
    source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> LoadedBackbone:
    """Load a folder or hub name for inference and adapter training: all weights frozen, evaluation mode.

    The fingerprint covers the weights as stored, whatever `dtype` they are then run in.
    """
    folder = resolve_folder(str(source))
    config, tensors = _read_tensors(folder)
    tokenizer = read_tokenizer(folder, config.family)
    if tokenizer.vocab_size > config.vocab_size:
        raise BackboneUnavailable(
            f"{folder}: the tokenizer knows {tokenizer.vocab_size} pieces, the model only {config.vocab_size}"
        )
    identity = fingerprint(config, tokenizer.definition, tensors)
    with torch.device("meta"):
        backbone = Backbone(config, masked_lm="masked_lm.bias" in tensors)
    backbone.to_empty(device=device).to(dtype)
    backbone.load_tensors(tensors)
    backbone.requires_grad_(False).eval()
    return LoadedBackbone(
        name=Path(source).absolute().name, fingerprint=identity, config=config, backbone=backbone, tokenizer=tokenizer
    )


def _read_tensors(folder: Path) -> tuple[BackboneConfig, dict[str, torch.Tensor]]:
    """The checkpoint's configuration and its tensors under our stored names, in their stored dtype."""
    if not (folder / "config.json").is_file():
        raise BackboneUnavailable(f"{folder} has no config.json; give a folder that `save_pretrained` wrote")
    if not any(folder.glob("*.safetensors")):
        raise BackboneUnavailable(
            f"{folder} has no *.safetensors; `glossa backbones convert {folder} NEW_FOLDER` makes them from a .bin"
        )
    with _quiet_transformers():
        try:
            hub_config = transformers.AutoConfig.from_pretrained(folder)
            config = backbone_config(hub_config)
            model, report = transformers.AutoModelForMaskedLM.from_pretrained(
                folder, config=hub_config, dtype="auto", use_safetensors=True, output_loading_info=True
            )
        except _FOREIGN_ERRORS as error:
            raise BackboneUnavailable(f"{folder} cannot be loaded: {error}") from error
    state = model.state_dict()
    has_head = _has_head(str(folder), config, set(report["missing_keys"]))
    if has_head and not getattr(hub_config, "tie_word_embeddings", True):
        raise BackboneUnavailable(f"{folder}: the masked-LM decoder is not tied to the word embeddings")
    return config, {
        ours: state[theirs]
        for ours, theirs in tensor_names(config).items()
        if has_head or not ours.startswith("masked_lm.")
    }


def _has_head(source: str, config: BackboneConfig, missing: set[str]) -> bool:
    """Whether a checkpoint without the `missing` tensors, which `transformers` fills at random, has a masked-LM head.

    Raises `BackboneUnavailable` where the encoder itself lacks some.
    """
    names = tensor_names(config)
    lost = sorted(missing & {theirs for ours, theirs in names.items() if not ours.startswith("masked_lm.")})
    if lost:
        raise BackboneUnavailable(f"{source} lacks {len(lost)} of the encoder's tensors, {lost[0]} among them")
    mapping = FAMILIES[config.family]
    return not missing & (set(mapping.masked_lm.values()) - set(mapping.bias_aliases))


def save_backbone(
    backbone: Backbone, tokenizer: TextTokenizer, folder: Path, *, dtype: torch.dtype, shard_bytes: int | None = None
) -> None:
    """Write config.json, *.safetensors and tokenizer.json as `transformers` would. Needs a masked-LM head.

    No file of weights is larger than `shard_bytes`, if given, unless a single tensor is. Those of an earlier backbone
    in `folder` are replaced.
    """
    config = backbone.config
    ids = tokenizer.ids
    hub_config = transformers.AutoConfig.for_model(
        config.family, **hub_config_fields(config), bos_token_id=ids.start, eos_token_id=ids.end
    )
    with _quiet_transformers(), torch.device("meta"):
        model = transformers.AutoModelForMaskedLM.from_config(hub_config)
    names = tensor_names(config)
    ours = backbone.stored_tensors()
    state = {names[name]: tensor.detach().cpu().to(dtype) for name, tensor in ours.items()}
    mapping = FAMILIES[config.family]
    for alias in mapping.bias_aliases:
        state[alias] = state[mapping.masked_lm["masked_lm.bias"]]
    state[mapping.bias_aliases[1].replace(".bias", ".weight")] = state[names["embeddings.word.weight"]]
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    for stale in folder.glob("model*.safetensors*"):  # one whole file would be read before any shards
        stale.unlink()
    with _quiet_transformers():
        model.save_pretrained(folder, **({} if shard_bytes is None else {"max_shard_size": shard_bytes}))
    (folder / FILE_NAME).write_text(tokenizer.definition, encoding="utf-8")


def convert_backbone(source: str, folder: Path) -> None:
    """Write a checkpoint that `load_backbone` takes from one it refuses (`.bin` weights, no tokenizer.json).

    Reading `.bin` weights runs `transformers`' restricted unpickler: for files that the user trusts, never on a server.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackboneUnavailable(f"{folder} is not empty; name a new folder")
    with _quiet_transformers():
        try:
            model, report = transformers.AutoModelForMaskedLM.from_pretrained(
                source, dtype="auto", output_loading_info=True
            )
            has_head = _has_head(source, backbone_config(model.config), set(report["missing_keys"]))
            definition = _tokenizer_definition(source)
            # A random head must not be written: it would pass for a trained one.
            (model if has_head else model.base_model).save_pretrained(folder)
            Path(folder, FILE_NAME).write_text(definition, encoding="utf-8")
        except (*_FOREIGN_ERRORS, AttributeError) as error:
            raise BackboneUnavailable(f"{source} cannot be converted: {error}") from error


def _tokenizer_definition(source: str) -> str:
    """The checkpoint's own tokenizer.json, which `transformers` might build otherwise; without one, what it builds."""
    folder = Path(source).expanduser()
    try:
        own = folder / FILE_NAME if folder.is_dir() else Path(huggingface_hub.hf_hub_download(source, FILE_NAME))
        return own.read_text(encoding="utf-8")
    except (FileNotFoundError, huggingface_hub.errors.EntryNotFoundError):
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, use_fast=True)
        definition: str = tokenizer.backend_tokenizer.to_str()
        return definition
