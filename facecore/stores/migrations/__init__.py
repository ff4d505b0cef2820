"""Alembic revisions of the catalogue; run by `facecore.stores.catalog.migrate`."""
