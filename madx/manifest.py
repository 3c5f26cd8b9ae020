"""The manifest: what one version of an adapter is, as JSON. Torch-free.

A version is a manifest plus one safetensors file. The manifest is stored byte for byte and names the weights by
digest, so the sha256 of the manifest's bytes identifies the version. Format: docs/checkpoint-format.md.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal, NewType

import langcodes
import langcodes.tag_parser
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from .config import AdapterConfig, Composition, HeadConfig
from .errors import InvalidConfig, InvalidManifest

Digest = NewType("Digest", str)
"""sha256 as 64 lower-case hexadecimal digits."""

Kind = Literal["language", "task"]
JsonScalar = str | int | float | bool | None

FORMAT: Literal["glossa-adapter/1"] = "glossa-adapter/1"


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRef:
    """The backbone an adapter was made for. `fingerprint_source` is "asserted" where an importer could not check it."""

    name: str
    fingerprint: str
    fingerprint_source: Literal["checked", "asserted"] = "checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRef:
    """A data set that a version was trained or chosen on; `digest` is the sha256 of the file's bytes."""

    name: str
    split: str
    digest: str
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRef:
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about a version except its numbers. `parents` are digests of versions it was trained on top of."""

    format: Literal["glossa-adapter/1"] = FORMAT
    kind: Kind
    config: AdapterConfig
    head: HeadConfig | None = None
    composition: Composition | None = None
    language: str | None = None
    task: str | None = None
    backbone: BackboneRef
    weights: WeightsRef
    datasets: tuple[DataRef, ...] = ()
    method: str
    hyper_parameters: dict[str, JsonScalar] = field(default_factory=dict)
    metrics: dict[str, FiniteFloat] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    job: str | None = None
    licence: str | None = None
    library_versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        digests = {"weights.digest": self.weights.digest, "backbone.fingerprint": self.backbone.fingerprint}
        for name, digest in digests.items():
            if not is_digest(digest):
                raise InvalidConfig(f"{name} must be a sha256 of 64 lower-case hexadecimal digits")
        if self.language is not None and canonical_language(self.language) != self.language:
            raise InvalidConfig(f"language {self.language!r} must be written {canonical_language(self.language)!r}")
        if self.kind == "language":
            _check_language(self)
        else:
            _check_task(self)


def _check_language(manifest: Manifest) -> None:
    if manifest.language is None:
        raise InvalidConfig("a language adapter names its language")
    if manifest.task is not None or manifest.composition is not None:
        raise InvalidConfig("a language adapter has neither task nor composition")
    if manifest.head is not None and manifest.head.type != "masked_lm":
        raise InvalidConfig("a language adapter's own head is a masked_lm head")


def _check_task(manifest: Manifest) -> None:
    if manifest.task is None or manifest.head is None or manifest.composition is None:
        raise InvalidConfig("a task adapter names its task, head and composition")
    if manifest.head.type == "masked_lm":
        raise InvalidConfig("a task adapter cannot carry a masked_lm head")
    if manifest.config.invertible is not None:
        raise InvalidConfig("a task adapter has no invertible adapter")


_MOST_KNOWN_TAGS = 4_096


def canonical_language(tag: str) -> str:
    """The shortest BCP 47 form: "swa" and "SW" are "sw". Raises `InvalidConfig` if `tag` is no language tag."""
    # The library remembers every tag it has seen; a client that invents tags must not fill a server's memory.
    for cache in (langcodes.Language._INSTANCES, langcodes.Language._PARSE_CACHE):
        if len(cache) > _MOST_KNOWN_TAGS:
            cache.clear()
    try:
        language = langcodes.Language.get(tag, normalize=True)
    except (langcodes.tag_parser.LanguageTagError, ValueError) as error:
        raise InvalidConfig(f"{tag!r} is no BCP 47 or ISO 639-3 language tag") from error
    if not language.is_valid():
        raise InvalidConfig(f"{tag!r} is no registered BCP 47 or ISO 639-3 language tag")
    return language.to_tag()


_READER = TypeAdapter(Manifest)
_MOST_QUOTED = 300


def to_bytes(manifest: Manifest) -> bytes:
    """The canonical JSON bytes: sorted keys, two spaces, UTF-8, one final newline."""
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def from_bytes(content: bytes) -> Manifest:
    """Read a manifest. Raises `InvalidManifest` naming the first wrong or unknown field."""
    try:
        manifest = _READER.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise InvalidManifest(f"{_shortened(place)}: {_shortened(first['msg'])}") from error
    except InvalidConfig as error:
        raise InvalidManifest(_shortened(str(error))) from error
    unknown = _unknown_field(json.loads(content), asdict(manifest))
    if unknown is not None:
        raise InvalidManifest(f"{_shortened(unknown)} is no field of the format {FORMAT}")
    return manifest


def _shortened(text: str) -> str:
    """A message may quote a megabyte of what was sent."""
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]} ..."


def _unknown_field(given: object, known: object) -> str | None:
    """The dotted name of a given field that was not read, or None."""
    if isinstance(given, list) and isinstance(known, list | tuple):
        pairs = [(str(index), value, known[index]) for index, value in enumerate(given)]
    elif isinstance(given, dict) and isinstance(known, dict):
        for name in given:
            if name not in known:
                return str(name)
        pairs = [(name, value, known[name]) for name, value in given.items()]
    else:
        return None
    for name, value, read in pairs:
        inner = _unknown_field(value, read)
        if inner is not None:
            return f"{name}.{inner}"
    return None
