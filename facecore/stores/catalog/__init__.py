"""The catalogue in PostgreSQL: what exists, where it stands, who made it.

`Catalog(settings().database).transaction()` yields `tx`, the first argument of every function
of the modules here. Nothing is visible to others until the block ends; an exception undoes
all of it.
"""

from facecore.stores.catalog.connection import Catalog, Transaction
from facecore.stores.catalog.schema import expected_version, migrate, schema_version

__all__ = ["Catalog", "Transaction", "expected_version", "migrate", "schema_version"]
