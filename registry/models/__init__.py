"""The tables, a module for each kind of thing. Importing this package registers all of them with `Table.metadata`."""

from .access import KeyRow
from .base import Table, UtcDateTime
from .catalogue import AdapterRow, AliasMoveRow, AliasRow, BackboneRow, DefaultRow, VersionRow
from .journal import AuditRow, EventRow
from .lineage import DatasetRow, EvaluationRow, LabelRow, ParentRow
from .transfers import LeaseRow, ReplyRow, TombstoneRow, UploadRow

__all__ = [
    "AdapterRow",
    "AliasMoveRow",
    "AliasRow",
    "AuditRow",
    "BackboneRow",
    "DatasetRow",
    "DefaultRow",
    "EvaluationRow",
    "EventRow",
    "KeyRow",
    "LabelRow",
    "LeaseRow",
    "ParentRow",
    "ReplyRow",
    "Table",
    "TombstoneRow",
    "UploadRow",
    "UtcDateTime",
    "VersionRow",
]
