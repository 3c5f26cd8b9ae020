"""A server's JSON -> the registry's values. What does not fit is another server's, or another version's, answer."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from madx.config import BackboneConfig
from registry.access import Key
from registry.evaluations import Evaluation, Measurement
from registry.lineage import Lineage
from registry.values import Alias, AliasMove, AuditEntry, Backbone, VersionSummary

from .catalogues import AdapterEntry
from .connection import ClientError, Json

Item = dict[str, Json]
Value = TypeVar("Value")

_ENTRY = TypeAdapter(AdapterEntry)
_SUMMARY = TypeAdapter(VersionSummary)
_ALIAS = TypeAdapter(Alias)
_MOVE = TypeAdapter(AliasMove)
_LINEAGE = TypeAdapter(Lineage)
_EVALUATION = TypeAdapter(Evaluation)
_BACKBONE = TypeAdapter(Backbone)
_CONFIG = TypeAdapter(BackboneConfig)
_KEY = TypeAdapter(Key)
_AUDIT = TypeAdapter(AuditEntry)
_TEXT = TypeAdapter(str)


def entry_of(item: Item) -> AdapterEntry:
    names = ("name", "kind", "language", "task", "created_at", "num_versions", "aliases")
    return _read(
        _ENTRY, lambda: {name: item[name] for name in names} | {"newest": _summary(item["newest"], item["name"])}
    )


def summary_of(item: Item) -> VersionSummary:
    return _read(_SUMMARY, lambda: _summary(item, item["name"]))


def _summary(item: Item, name: str) -> Item:
    same = ("fingerprint", "weights_digest", "size_bytes", "labels", "created_at")
    return {key: item[key] for key in same} | {
        "name": name,
        "number": item["version"],
        "manifest_digest": item["digest"],
        "deleted_at": item.get("deleted_at"),
    }


def alias_of(item: Item, name: str) -> Alias:
    same = ("alias", "revision", "moved_at")
    return _read(_ALIAS, lambda: {key: item[key] for key in same} | {"adapter": name, "number": item["version"]})


def move_of(item: Item) -> AliasMove:
    same = ("revision", "actor", "moved_at")
    return _read(_MOVE, lambda: {key: item[key] for key in same} | {"number": item["version"]})


def lineage_of(item: Item) -> Lineage:
    return _read(_LINEAGE, lambda: {key: item[key] for key in Lineage.__dataclass_fields__})


def evaluation_of(item: Item) -> Evaluation:
    measured = Measurement.__dataclass_fields__
    same = ("id", "reference", "actor", "created_at")
    return _read(
        _EVALUATION, lambda: {key: item[key] for key in same} | {"measured": {key: item[key] for key in measured}}
    )


def backbone_of(item: Item) -> Backbone:
    same = ("fingerprint", "name", "masked_lm", "created_at")
    return _read(
        _BACKBONE, lambda: {key: item[key] for key in same} | {"config": _CONFIG.validate_python(item["config"])}
    )


def key_of(item: Item) -> Key:
    same = ("id", "name", "role", "created_by", "created_at", "expires_at", "revoked_at", "last_used_at")
    return _read(_KEY, lambda: {key: item[key] for key in same} | {"pattern": item["names"]})


def secret_of(item: Item) -> str:
    """Of a key that has just been made."""
    return _read(_TEXT, lambda: item["key"])


def audit_entry_of(item: Item) -> AuditEntry:
    return _read(_AUDIT, lambda: {key: item[key] for key in AuditEntry.__dataclass_fields__})


def _read(adapter: TypeAdapter[Value], arranged: Callable[[], Json]) -> Value:
    try:
        return adapter.validate_python(arranged())
    except (KeyError, TypeError, ValidationError) as error:
        raise ClientError(
            "the server's answer is not what this version of glossa expects; compare the two versions",
            code="unexpected_answer",
            status=None,
        ) from error
