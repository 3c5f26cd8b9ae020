"""What `--json` says of the registry's values: the names that the HTTP API has for the same things."""

from datetime import datetime

from registry.access import Key
from registry.evaluations import Evaluation
from registry.lineage import Lineage
from registry.values import Alias, AliasMove, AuditEntry, Backbone, Version, VersionSummary

from .catalogues import AdapterEntry

Item = dict[str, object]


def version_item(version: Version) -> Item:
    """One version without its manifest, here and after training."""
    return {
        "reference": version.reference,
        "name": version.name,
        "version": version.number,
        "kind": version.kind,
        "language": version.language,
        "task": version.task,
        "fingerprint": version.fingerprint,
        "digest": version.manifest_digest,
        "weights_digest": version.weights_digest,
        "size_bytes": version.size_bytes,
        "created_at": version.created_at,
        "metrics": version.manifest.metrics,
    }


def summary_item(version: VersionSummary) -> Item:
    return {
        "reference": version.reference,
        "name": version.name,
        "version": version.number,
        "digest": version.manifest_digest,
        "weights_digest": version.weights_digest,
        "fingerprint": version.fingerprint,
        "size_bytes": version.size_bytes,
        "labels": list(version.labels),
        "created_at": version.created_at,
        "deleted_at": version.deleted_at,
    }


def entry_item(entry: AdapterEntry) -> Item:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "language": entry.language,
        "task": entry.task,
        "created_at": entry.created_at,
        "num_versions": entry.num_versions,
        "newest": summary_item(entry.newest),
        "aliases": dict(entry.aliases),
    }


def alias_item(alias: Alias) -> Item:
    return {
        "name": alias.adapter,
        "alias": alias.alias,
        "version": alias.number,
        "reference": f"{alias.adapter}@{alias.number}",
        "revision": alias.revision,
        "moved_at": alias.moved_at,
    }


def move_item(move: AliasMove) -> Item:
    return {"revision": move.revision, "version": move.number, "actor": move.actor, "moved_at": move.moved_at}


def lineage_item(lineage: Lineage) -> Item:
    return {
        "reference": lineage.reference,
        "digest": lineage.digest,
        "fingerprint": lineage.fingerprint,
        "fingerprint_source": lineage.fingerprint_source,
        "method": lineage.method,
        "job": lineage.job,
        "datasets": [
            {"name": data.name, "split": data.split, "digest": data.digest, "licence": data.licence}
            for data in lineage.datasets
        ],
        "parents": {parent: list(references) for parent, references in lineage.parents.items()},
        "children": list(lineage.children),
    }


def evaluation_item(evaluation: Evaluation) -> Item:
    measured = evaluation.measured
    return {
        "id": evaluation.id,
        "reference": evaluation.reference,
        "metric": measured.metric,
        "score": measured.score,
        "dataset": measured.dataset,
        "split": measured.split,
        "dataset_digest": measured.dataset_digest,
        "language": measured.language,
        "language_adapter": measured.language_adapter,
        "detail": dict(measured.detail),
        "actor": evaluation.actor,
        "created_at": evaluation.created_at,
    }


def backbone_item(backbone: Backbone) -> Item:
    config = backbone.config
    return {
        "name": backbone.name,
        "fingerprint": backbone.fingerprint,
        "family": config.family,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "masked_lm": backbone.masked_lm,
        "created_at": backbone.created_at,
    }


def key_item(key: Key) -> Item:
    return {
        "id": key.id,
        "name": key.name,
        "role": key.role,
        "names": key.pattern,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def audit_item(entry: AuditEntry) -> Item:
    return {
        "id": entry.id,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "from_digest": entry.from_digest,
        "to_digest": entry.to_digest,
        "detail": entry.detail,
    }


def moment_text(moment: datetime) -> str:
    """For tables."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
