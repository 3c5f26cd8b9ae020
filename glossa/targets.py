"""What `glossa evaluate` runs: test sets by language, each with the language adapters it is read with.

A language without adapter runs with none and with that of the language the task adapter was trained in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from madx.errors import GlossaError
from madx.manifest import canonical_language
from registry import catalog
from registry.datasets.locate import LocatedFile
from registry.errors import NotFound, WrongBackbone
from registry.lineage import lineage_of
from registry.references import parse_reference
from registry.registry import Registry
from registry.values import Version
from trainer.data import DataPlaces
from trainer.evaluate import Trial

NONE = "none"


class InvalidTarget(GlossaError):
    """A `--target` that names no test set."""

    code = "invalid_target"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    language: str
    file: LocatedFile


def read_target(text: str, places: DataPlaces) -> Target:
    """`[LANGUAGE=]DATASET[:SPLIT]`; the split is `test` by default. A file needs its language."""
    language, separator, source = text.partition("=")
    if not separator:
        language, source = "", text
    name, _, split = source.rpartition(":")
    if not name:
        name, split = source, "test"
    if not name or not split:
        raise InvalidTarget(f"{text!r} names no test set; write LANGUAGE=DATASET, with :SPLIT where it is not test")
    dataset = places.named(name)
    if language:
        code = canonical_language(language)
    elif dataset is not None:
        code = dataset.language
    else:
        raise InvalidTarget(f"{name} is a file: name its language, as in sw={name}")
    return Target(language=code, file=places.locate(name, split, task="ner", language=code))


def trials_for(
    registry: Registry, task: Version, targets: Sequence[Target], named: Mapping[str, str], *, bare: bool
) -> Iterator[tuple[Trial, LocatedFile]]:
    """`named` replaces the registry's choice by language; with `bare` every target also runs with none."""
    for target in targets:
        readings = list(_readings(registry, task, target.language, named.get(target.language)))
        if bare and all(reference is not None for reference, _ in readings):
            readings.insert(0, (None, None))
        for reference, note in readings:
            trial = Trial(
                language=target.language,
                dataset=target.file.name,
                split=target.file.split,
                language_adapter=reference,
                note=note,
            )
            yield trial, target.file


def _readings(
    registry: Registry, task: Version, language: str, named: str | None
) -> Iterator[tuple[str | None, str | None]]:
    """(language adapter, note) of every reading of one language's test set."""
    composition = task.manifest.composition
    if named is not None:
        yield (None if named == NONE else _exact(registry, named, task)), None
    elif composition is not None and composition.language == "none":
        yield None, None
    elif composition is not None and composition.language != "swapped":
        yield _exact(registry, composition.language, task), "the version that the task adapter is meant for"
    else:
        try:
            chosen = catalog.choose(registry, kind="language", key=language, fingerprint=task.fingerprint)
        except NotFound:
            yield from _without_adapter(registry, task, language)
        else:
            yield chosen.reference, None


def _without_adapter(registry: Registry, task: Version, language: str) -> Iterator[tuple[str | None, str | None]]:
    yield None, f"no adapter for {language}: none"
    source = source_adapter(registry, task)
    if source is not None:
        yield source.reference, f"no adapter for {language}: {source.language}'s"


def _exact(registry: Registry, reference: str, task: Version) -> str:
    return catalog.resolve(registry, parse_reference(reference), fingerprint=task.fingerprint).reference


def source_adapter(registry: Registry, task: Version) -> Version | None:
    """The language adapter that the task adapter was trained on, where the registry has it."""
    for references in lineage_of(registry, task.name, task.number).parents.values():
        for reference in references:
            try:
                version = catalog.resolve(registry, parse_reference(reference), fingerprint=task.fingerprint)
            except (NotFound, WrongBackbone):
                continue
            if version.kind == "language":
                return version
    return None
