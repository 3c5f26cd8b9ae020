"""Very many versions of very many adapters, written straight into a registry's tables: nothing is published here, and
no version has weights.

Manifests are whole, each with a digest of its own; languages, tasks, labels, backbones, aliases, defaults and deletions
are spread as in a registry that many people use for long. The same seed gives the same contents.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from madx.config import AdapterConfig, Composition, HeadConfig, InvertibleConfig
from madx.manifest import BackboneRef, DataRef, Kind, Manifest, WeightsRef, digest_of, to_bytes
from registry.models import (
    AdapterRow,
    AliasMoveRow,
    AliasRow,
    DatasetRow,
    DefaultRow,
    LabelRow,
    Table,
    VersionRow,
)
from registry.registry import Registry

from .words import LABELS, LANGUAGES, TASKS

_ADAPTERS_AT_ONCE = 100
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_EMPTY_DIGEST = "0" * 64
_EMPTY_SEED = 999_999_999
_DELETED = 0.08
_ALL_DELETED = 0.01
_SERVED = 0.5

Rows = dict[type[Table], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    adapters: int = 2_000
    versions: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An adapter, its live versions ascending, and its aliases."""

    name: str
    kind: Kind
    language: str | None
    task: str | None
    live: tuple[int, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbones:
    """Fingerprint -> name. The first is the one that is served."""

    names: dict[str, str]

    @property
    def served(self) -> str:
        return next(iter(self.names))

    def for_one(self, chance: random.Random) -> str:
        """Half of all adapters are for the one that is served."""
        return self.served if chance.random() < _SERVED else chance.choice(list(self.names))


def fill(registry: Registry, backbones: Backbones, size: Size, *, seed: int) -> tuple[Member, ...]:
    """Into an empty registry that has these backbones; the adapters by name."""
    chance = random.Random(seed)
    counts = _counts(chance, size)
    members: list[Member] = []
    for start in range(0, size.adapters, _ADAPTERS_AT_ONCE):
        rows: Rows = {}
        members += [
            _adapter(rows, chance, backbones, index=start + offset, count=count)
            for offset, count in enumerate(counts[start : start + _ADAPTERS_AT_ONCE])
        ]
        with registry.database.session() as session:
            _insert(session, rows)
    with registry.database.session() as session:
        _insert(session, {DefaultRow: list(_defaults(chance, members, backbones.served))})
    return tuple(sorted(members, key=lambda member: member.name))


def _counts(chance: random.Random, size: Size) -> list[int]:
    """Versions of each adapter: most have few, few have very many."""
    shares = [min(chance.paretovariate(1.1), 60.0) for _ in range(size.adapters)]
    free = size.versions - size.adapters
    counts = [1 + int(free * share / sum(shares)) for share in shares]
    for index in range(size.versions - sum(counts)):
        counts[index % size.adapters] += 1
    return counts


def _insert(session: Session, rows: Rows) -> None:
    order = (AdapterRow, VersionRow, LabelRow, DatasetRow, AliasRow, AliasMoveRow, DefaultRow)
    for table in order:
        if rows.get(table):
            session.connection().execute(insert(table), rows[table])


def _adapter(rows: Rows, chance: random.Random, backbones: Backbones, *, index: int, count: int) -> Member:
    kind: Kind = "language" if index % 2 == 0 else "task"
    language = LANGUAGES[index // 2 % len(LANGUAGES)] if kind == "language" or chance.random() < 0.2 else None
    task = None if kind == "language" else TASKS[index // 2 % len(TASKS)]
    name = f"{language or 'all'}-{task or 'mlm'}-{index:05}"
    created_at = _FIRST_DAY + timedelta(hours=index % 8_760)
    adapter = {"name": name, "kind": kind, "language": language, "task": task, "created_at": created_at}
    rows.setdefault(AdapterRow, []).append(adapter)
    labels = () if task is None else LABELS[task][chance.randrange(len(LABELS[task]))]
    fingerprints = [backbones.for_one(chance) for _ in range(3 if chance.random() < 0.15 else 1)]
    contents = {
        fingerprint: _template(adapter, labels, backbones.names[fingerprint], fingerprint)
        for fingerprint in fingerprints
    }
    is_gone = chance.random() < _ALL_DELETED
    live = []
    for number in range(1, count + 1):
        manifest, content = contents[chance.choice(fingerprints)]
        row = _version(manifest, content, name=name, number=number, created_at=created_at + timedelta(hours=number))
        if is_gone or chance.random() < _DELETED:
            row["deleted_at"] = row["created_at"] + timedelta(days=30)
        else:
            live.append(number)
        rows.setdefault(VersionRow, []).append(row)
        _add_lineage(rows, manifest, name=name, number=number)
    aliases = tuple(
        alias for alias, share in (("production", 0.6), ("canary", 0.25)) if chance.random() < share and live
    )
    _add_aliases(rows, chance, name, live, aliases, at=created_at)
    return Member(name=name, kind=kind, language=language, task=task, live=tuple(live), aliases=aliases)


def _template(
    adapter: dict[str, Any], labels: Sequence[str], backbone: str, fingerprint: str
) -> tuple[Manifest, bytes]:
    """A manifest and its bytes, in which each version's digest of weights and seed are still to be put."""
    is_language = adapter["kind"] == "language"
    data = ("made-news",) if is_language else ("made-news", "made-web")
    manifest = Manifest(
        kind=adapter["kind"],
        config=AdapterConfig(reduction=2.0, invertible=InvertibleConfig())
        if is_language
        else AdapterConfig(reduction=16.0),
        head=HeadConfig(type="tagging", labels=tuple(labels)) if labels else None,
        composition=None if is_language else Composition(),
        language=adapter["language"],
        task=adapter["task"],
        backbone=BackboneRef(name=backbone, fingerprint=fingerprint),
        weights=WeightsRef(digest=_EMPTY_DIGEST, size_bytes=3_557_248),
        datasets=tuple(DataRef(name=name, split="train", digest=digest_of(name.encode())) for name in data),
        method="madx",
        hyper_parameters={"seed": _EMPTY_SEED, "steps": 50_000, "learning_rate": 1e-4, "batch_size": 64, "warmup": 0.1},
        metrics={"loss": 2.41, "f1": 0.83},
        library_versions={"glossa": "0.3.0", "torch": "2.13.0", "transformers": "5.0.0"},
    )
    return manifest, to_bytes(manifest)


def _version(manifest: Manifest, content: bytes, *, name: str, number: int, created_at: datetime) -> dict[str, Any]:
    weights = hashlib.sha256(f"{name}@{number}".encode()).hexdigest()
    content = content.replace(_EMPTY_DIGEST.encode(), weights.encode())
    content = content.replace(str(_EMPTY_SEED).encode(), str(100_000_000 + number).encode())
    return {
        "adapter": name,
        "number": number,
        "manifest": content,
        "manifest_digest": digest_of(content),
        "weights_digest": weights,
        "size_bytes": manifest.weights.size_bytes,
        "fingerprint": manifest.backbone.fingerprint,
        "job": f"job-{weights[:12]}",
        "created_at": created_at,
        "deleted_at": None,
    }


def _add_lineage(rows: Rows, manifest: Manifest, *, name: str, number: int) -> None:
    version = {"adapter": name, "number": number}
    labels = manifest.head.labels if manifest.head is not None else ()
    rows.setdefault(LabelRow, []).extend(
        version | {"label": label, "position": position} for position, label in enumerate(labels)
    )
    rows.setdefault(DatasetRow, []).extend(
        version | {"position": position, "name": data.name, "split": data.split, "digest": data.digest}
        for position, data in enumerate(manifest.datasets)
    )


def _add_aliases(
    rows: Rows, chance: random.Random, name: str, live: Sequence[int], aliases: Sequence[str], *, at: datetime
) -> None:
    for alias in aliases:
        place = {"adapter": name, "alias": alias, "number": chance.choice(live), "revision": 1, "moved_at": at}
        rows.setdefault(AliasRow, []).append(place)
        rows.setdefault(AliasMoveRow, []).append(place | {"actor": "benchmark"})


def _defaults(chance: random.Random, members: Sequence[Member], fingerprint: str) -> Iterator[dict[str, Any]]:
    """For every other language and task."""
    for kind, keys in (("language", LANGUAGES[::2]), ("task", TASKS[::2])):
        for key in keys:
            fitting = [member for member in members if member.kind == kind and key in (member.language, member.task)]
            fitting = [member for member in fitting if member.live]
            if fitting:
                chosen = chance.choice(fitting)
                yield {
                    "kind": kind,
                    "key": key,
                    "fingerprint": fingerprint,
                    "adapter": chosen.name,
                    "selector": chosen.aliases[0] if chosen.aliases else None,
                    "set_at": _FIRST_DAY,
                }
