"""Lineage, evaluations, purged versions, removed aliases, leases and tombstones, uploads, keys."""

import json

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_TABLES = (
    "keys",
    "replies",
    "uploads",
    "tombstones",
    "leases",
    "evaluations",
    "version_parents",
    "version_datasets",
    "version_labels",
)


def upgrade() -> None:
    _catalogue()
    _lineage()
    _evaluations()
    _transfers()
    _keys()
    _fill_lineage()


def _catalogue() -> None:
    with op.batch_alter_table("versions") as versions:
        versions.add_column(sa.Column("job", sa.String(200)))
        versions.add_column(sa.Column("purged_at", _TIME))
        versions.create_check_constraint(op.f("ck_versions_purged"), "purged_at IS NULL OR deleted_at IS NOT NULL")
        versions.create_index("ix_versions_job", ["job"])
        versions.create_index("ix_versions_manifest_digest", ["manifest_digest"])
    live = sa.text("deleted_at IS NULL")
    op.create_index(
        "ix_versions_live",
        "versions",
        ["adapter", "fingerprint", "number"],
        sqlite_where=live,
        postgresql_where=live,
    )
    for table in ("aliases", "alias_history"):
        with op.batch_alter_table(table) as changed:
            changed.alter_column("number", existing_type=sa.Integer(), nullable=True)
    with op.batch_alter_table("audit") as audit:
        audit.add_column(sa.Column("from_digest", sa.String(64)))
        audit.add_column(sa.Column("to_digest", sa.String(64)))


def _version_columns() -> tuple[sa.Column[str], sa.Column[int]]:
    return (
        sa.Column("adapter", _NAME, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
    )


def _of_version(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["adapter", "number"], ["versions.adapter", "versions.number"], name=f"fk_{table}_adapter_number_versions"
    )


def _lineage() -> None:
    op.create_table(
        "version_labels",
        sa.Column("label", sa.String(200), nullable=False),
        *_version_columns(),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("label", "adapter", "number", name="pk_version_labels"),
        _of_version("version_labels"),
    )
    op.create_index("ix_version_labels_adapter_number", "version_labels", ["adapter", "number"])
    op.create_table(
        "version_datasets",
        *_version_columns(),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("split", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("adapter", "number", "position", name="pk_version_datasets"),
        _of_version("version_datasets"),
    )
    op.create_index("ix_version_datasets_digest", "version_datasets", ["digest"])
    op.create_table(
        "version_parents",
        sa.Column("parent", sa.String(64), nullable=False),
        *_version_columns(),
        sa.PrimaryKeyConstraint("parent", "adapter", "number", name="pk_version_parents"),
        _of_version("version_parents"),
    )


def _evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("id", _SEQUENCE, nullable=False),
        *_version_columns(),
        sa.Column("language", sa.String(64)),
        sa.Column("language_adapter", sa.String(140)),
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("split", sa.String(200), nullable=False),
        sa.Column("dataset_digest", sa.String(64)),
        sa.Column("metric", sa.String(64), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        _of_version("evaluations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_evaluations_adapter_number", "evaluations", ["adapter", "number"])


def _transfers() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
    )
    op.create_index("ix_leases_digest", "leases", ["digest"])
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("marked_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_tombstones"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_uploads_size_bytes")),
    )
    op.create_index("ix_uploads_actor", "uploads", ["actor"])
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_table(
        "replies",
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("request_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("content", sa.LargeBinary()),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name="pk_replies"),
    )
    op.create_index("ix_replies_expires_at", "replies", ["expires_at"])


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("pattern", sa.String(200)),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.CheckConstraint("role IN ('read', 'predict', 'write', 'admin')", name=op.f("ck_keys_role")),
    )


def _fill_lineage() -> None:
    """From the manifests of the versions that are there already."""
    connection = op.get_bind()
    versions = sa.table("versions", *(sa.column(name) for name in ("adapter", "number", "manifest", "job")))
    for adapter, number, content in connection.execute(
        sa.select(versions.c.adapter, versions.c.number, versions.c.manifest)
    ).fetchall():
        manifest = json.loads(content)
        version = {"adapter": adapter, "number": number}
        connection.execute(
            versions.update()
            .where(versions.c.adapter == adapter, versions.c.number == number)
            .values(job=(manifest.get("job") or "")[:200] or None)
        )
        labels = dict.fromkeys((manifest.get("head") or {}).get("labels", ()))
        _insert(
            "version_labels",
            [version | {"label": label[:200], "position": position} for position, label in enumerate(labels)],
        )
        parents = dict.fromkeys(manifest.get("parents", ()))
        _insert("version_parents", [version | {"parent": parent[:64]} for parent in parents])
        _insert(
            "version_datasets",
            [
                version
                | {"position": position}
                | {"name": data["name"][:200], "split": data["split"][:200], "digest": data["digest"][:64]}
                for position, data in enumerate(manifest.get("datasets", ()))
            ],
        )


def _insert(table: str, rows: list[dict[str, object]]) -> None:
    if rows:
        columns: list[sa.ColumnClause[object]] = [sa.column(name) for name in rows[0]]
        op.get_bind().execute(sa.table(table, *columns).insert(), rows)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
    with op.batch_alter_table("audit") as audit:
        audit.drop_column("to_digest")
        audit.drop_column("from_digest")
    removed = "SELECT adapter || '@' || alias FROM aliases WHERE number IS NULL"
    op.execute(f"DELETE FROM alias_history WHERE number IS NULL OR adapter || '@' || alias IN ({removed})")  # noqa: S608
    op.execute("DELETE FROM aliases WHERE number IS NULL")
    for table in ("alias_history", "aliases"):
        with op.batch_alter_table(table) as changed:
            changed.alter_column("number", existing_type=sa.Integer(), nullable=False)
    op.drop_index("ix_versions_live", table_name="versions")
    with op.batch_alter_table("versions") as versions:
        versions.drop_index("ix_versions_manifest_digest")
        versions.drop_index("ix_versions_job")
        versions.drop_constraint(op.f("ck_versions_purged"), type_="check")
        versions.drop_column("purged_at")
        versions.drop_column("job")
