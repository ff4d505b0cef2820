"""The catalogue: tables, constraints and the triggers that guard them.

Revision ID: 0001
"""

from importlib.resources import files

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the SQL beside this file is the readable definition."""
    sql = files("facecore.stores.migrations.versions") / "v0001_catalogue.sql"
    # Through the driver's own cursor: the text has % signs that are no parameters.
    op.get_bind().connection.cursor().execute(sql.read_text("utf-8"))


def downgrade() -> None:
    """Refuse: an empty catalogue is made by dropping its database, never by accident."""
    raise RuntimeError("the first revision cannot be undone; drop the database instead")
