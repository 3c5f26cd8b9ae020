"""Where versions come from and how good they are: data, parents, labels, evaluations.

The first three repeat what manifests say, so that they can be searched; `lineage` fills them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKeyConstraint, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from .base import NAME, SEQUENCE, Table


def _of_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["adapter", "number"], ["versions.adapter", "versions.number"])


class LabelRow(Table):
    """A label that a version's head can answer, as the head has it; `position` is that of its logit."""

    __tablename__ = "version_labels"
    __table_args__ = (_of_version(), Index(None, "adapter", "number"))

    label: Mapped[str] = mapped_column(String(200), primary_key=True)
    adapter: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int]


class DatasetRow(Table):
    """A data set that a version was trained or chosen on; `digest` is that of the file."""

    __tablename__ = "version_datasets"
    __table_args__ = (_of_version(),)

    adapter: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200))
    split: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), index=True)


class ParentRow(Table):
    """A version that another was trained on top of, by the digest of its manifest; it may lie in another registry."""

    __tablename__ = "version_parents"
    __table_args__ = (_of_version(),)

    parent: Mapped[str] = mapped_column(String(64), primary_key=True)
    adapter: Mapped[str] = mapped_column(NAME, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)


class EvaluationRow(Table):
    """One score of a version on one data set. `language_adapter` is the reference that it ran with, if any."""

    __tablename__ = "evaluations"
    __table_args__ = (_of_version(), Index(None, "adapter", "number"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True)
    adapter: Mapped[str] = mapped_column(NAME)
    number: Mapped[int]
    language: Mapped[str | None] = mapped_column(String(64))
    language_adapter: Mapped[str | None] = mapped_column(String(140))
    dataset: Mapped[str] = mapped_column(String(200))
    split: Mapped[str] = mapped_column(String(200))
    dataset_digest: Mapped[str | None] = mapped_column(String(64))
    metric: Mapped[str] = mapped_column(String(64))
    score: Mapped[float] = mapped_column(Float)
    detail: Mapped[dict[str, Any]]
    actor: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
