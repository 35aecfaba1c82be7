"""Alembic's entry point: migrates the connection that storage/schema.py hands over."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from storage.study_tables import StudyRow  # noqa: F401 (its import adds the tables of studies to Base)
from storage.tables import Base, UtcDateTime


def _render(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Drafts name SQLAlchemy's type, not ours: a migration must not change when tables.py does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
