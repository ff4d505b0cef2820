"""Alembic's entry point. The open connection comes from `facecore.stores.catalog.schema`.

There is no URL and no alembic.ini, so the password is never written anywhere.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    version_table_schema="facecore",
)
with context.begin_transaction():
    context.run_migrations()
