"""Alembic's entry. `registry.database` passes the open connection in and owns its transaction and its lock."""

from alembic import context

from registry.models import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
