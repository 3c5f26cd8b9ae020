"""The first tables: backbones, adapters with versions, aliases and defaults, audit and events."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_KINDS = "kind IN ('language', 'task')"


def upgrade() -> None:
    _backbones()
    _adapters()
    _versions()
    _aliases()
    _defaults()
    _journal()


def _backbones() -> None:
    op.create_table(
        "backbones",
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("masked_lm", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_backbones"),
    )
    op.create_index("ix_backbones_name", "backbones", ["name"])


def _adapters() -> None:
    op.create_table(
        "adapters",
        sa.Column("name", _NAME, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("language", sa.String(64)),
        sa.Column("task", sa.String(64)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_adapters"),
        sa.CheckConstraint(_KINDS, name=op.f("ck_adapters_kind")),
        sa.CheckConstraint("kind <> 'language' OR language IS NOT NULL", name=op.f("ck_adapters_language_named")),
        sa.CheckConstraint("(kind = 'task') = (task IS NOT NULL)", name=op.f("ck_adapters_task_named")),
    )
    op.create_index("ix_adapters_kind_language_task", "adapters", ["kind", "language", "task"])


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("adapter", _NAME, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("manifest_digest", sa.String(64), nullable=False),
        sa.Column("weights_digest", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("deleted_at", _TIME),
        sa.PrimaryKeyConstraint("adapter", "number", name="pk_versions"),
        sa.ForeignKeyConstraint(["adapter"], ["adapters.name"], name="fk_versions_adapter_adapters"),
        sa.ForeignKeyConstraint(["fingerprint"], ["backbones.fingerprint"], name="fk_versions_fingerprint_backbones"),
        sa.UniqueConstraint("adapter", "manifest_digest", name="uq_versions_adapter_manifest_digest"),
        sa.CheckConstraint("number >= 1", name=op.f("ck_versions_number")),
        sa.CheckConstraint("size_bytes >= 0", name=op.f("ck_versions_size_bytes")),
    )
    op.create_index("ix_versions_weights_digest", "versions", ["weights_digest"])
    op.create_index("ix_versions_fingerprint", "versions", ["fingerprint"])


def _aliases() -> None:
    version = ["adapter", "number"], ["versions.adapter", "versions.number"]
    op.create_table(
        "aliases",
        sa.Column("adapter", _NAME, nullable=False),
        sa.Column("alias", _NAME, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("moved_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("adapter", "alias", name="pk_aliases"),
        sa.ForeignKeyConstraint(*version, name="fk_aliases_adapter_number_versions"),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_aliases_revision")),
    )
    op.create_table(
        "alias_history",
        sa.Column("adapter", _NAME, nullable=False),
        sa.Column("alias", _NAME, nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("moved_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("adapter", "alias", "revision", name="pk_alias_history"),
        sa.ForeignKeyConstraint(
            ["adapter", "alias"], ["aliases.adapter", "aliases.alias"], name="fk_alias_history_adapter_alias_aliases"
        ),
        sa.ForeignKeyConstraint(*version, name="fk_alias_history_adapter_number_versions"),
    )


def _defaults() -> None:
    op.create_table(
        "defaults",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("adapter", _NAME, nullable=False),
        sa.Column("selector", sa.String(64)),
        sa.Column("set_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", "fingerprint", name="pk_defaults"),
        sa.ForeignKeyConstraint(["fingerprint"], ["backbones.fingerprint"], name="fk_defaults_fingerprint_backbones"),
        sa.ForeignKeyConstraint(["adapter"], ["adapters.name"], name="fk_defaults_adapter_adapters"),
        sa.CheckConstraint(_KINDS, name=op.f("ck_defaults_kind")),
    )


def _journal() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _SEQUENCE, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_table(
        "events",
        sa.Column("id", _SEQUENCE, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("events", "audit", "defaults", "alias_history", "aliases", "versions", "adapters", "backbones"):
        op.drop_table(table)
