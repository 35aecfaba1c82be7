"""Studies, what annotators are given in them, and the audit; judgements get a strength and can be withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The same sentences in SQLite and PostgreSQL, but for the name of a time. Alembic's own add_column cannot bring a CHECK
# along in SQLite without copying the table.
_NEW_COLUMNS = (
    "annotators ADD COLUMN group_name VARCHAR(100) DEFAULT '' NOT NULL "
    "CONSTRAINT ck_annotators_group_name_length CHECK (length(group_name) BETWEEN 0 AND 100)",
    "annotators ADD COLUMN deleted_at {time}",
    "generations ADD COLUMN n_tokens INTEGER DEFAULT 0 NOT NULL "
    "CONSTRAINT ck_generations_n_tokens CHECK (n_tokens >= 0)",
    "generations ADD COLUMN text_removed_at {time}",
    "judgements ADD COLUMN strength VARCHAR(16) "
    "CONSTRAINT ck_judgements_strength CHECK (strength IN ('slightly', 'clearly'))",
    "judgements ADD COLUMN withdrawn_at {time}",
)
_KINDS = "kind IN ('steer', 'study')"
_REFUSAL = "the audit is append-only"


def upgrade() -> None:
    dialect = op.get_bind().dialect
    time = sa.DateTime(timezone=True).compile(dialect=dialect)
    for column in _NEW_COLUMNS:
        op.execute(f"ALTER TABLE {column.format(time=time)}")
    as_json = "token_ids::json" if dialect.name == "postgresql" else "token_ids"
    op.execute(f"UPDATE generations SET n_tokens = json_array_length({as_json})")
    if dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_comparisons_kind"), "comparisons")
        op.create_check_constraint(op.f("ck_comparisons_kind"), "comparisons", _KINDS)
    else:
        _copy_comparisons()
    _create_studies()
    _create_study_items()
    _create_assignments()
    _create_consents()
    _create_audit()
    _protect_audit(dialect.name)


def _copy_comparisons() -> None:
    """SQLite cannot change a CHECK; it runs with foreign keys off, see storage/database.py."""
    op.create_table(
        "comparisons_0002",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("left_generation_id", sa.String(length=32), nullable=False),
        sa.Column("right_generation_id", sa.String(length=32), nullable=False),
        sa.Column(
            "sides_known", sa.Boolean(create_constraint=True, name=op.f("ck_comparisons_sides_known")), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(_KINDS, name=op.f("ck_comparisons_kind")),
        sa.CheckConstraint("left_generation_id <> right_generation_id", name=op.f("ck_comparisons_two_generations")),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_comparisons_id_length")),
        sa.ForeignKeyConstraint(
            ["left_generation_id"], ["generations.id"], name=op.f("fk_comparisons_left_generation_id")
        ),
        sa.ForeignKeyConstraint(
            ["right_generation_id"], ["generations.id"], name=op.f("fk_comparisons_right_generation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
    )
    columns = "id, kind, left_generation_id, right_generation_id, sides_known, created_at"
    op.execute(f"INSERT INTO comparisons_0002 ({columns}) SELECT {columns} FROM comparisons")
    op.drop_table("comparisons")
    op.rename_table("comparisons_0002", "comparisons")
    for side in ("left", "right"):
        column = f"{side}_generation_id"
        op.create_index(op.f(f"ix_comparisons_{column}"), "comparisons", [column], unique=False)


def _create_studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("prompts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_studies_id_length")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_studies_name_length")),
        sa.CheckConstraint("overlap >= 1", name=op.f("ck_studies_overlap")),
        sa.CheckConstraint("state IN ('generating', 'open', 'closed')", name=op.f("ck_studies_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_studies_name")),
    )


def _create_study_items() -> None:
    op.create_table(
        "study_items",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("comparison_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("blend_a", sa.String(length=4096), nullable=False),
        sa.Column("blend_b", sa.String(length=4096), nullable=False),
        sa.Column("weights_a", sa.Text(), nullable=False),
        sa.Column("weights_b", sa.Text(), nullable=False),
        sa.Column("gold", sa.Text(), nullable=False),
        sa.Column("repeat_of", sa.String(length=32), nullable=True),
        sa.Column("n_answered", sa.Integer(), nullable=False),
        sa.CheckConstraint("(role = 'repeat') = (repeat_of IS NOT NULL)", name=op.f("ck_study_items_repeats")),
        sa.CheckConstraint("length(blend_a) BETWEEN 1 AND 4096", name=op.f("ck_study_items_blend_a_length")),
        sa.CheckConstraint("length(blend_b) BETWEEN 1 AND 4096", name=op.f("ck_study_items_blend_b_length")),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_study_items_id_length")),
        sa.CheckConstraint("n_answered >= 0", name=op.f("ck_study_items_n_answered")),
        sa.CheckConstraint("role IN ('regular', 'gold', 'repeat')", name=op.f("ck_study_items_role")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_study_items_comparison_id")),
        sa.ForeignKeyConstraint(["repeat_of"], ["study_items.id"], name=op.f("fk_study_items_repeat_of")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_items_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_items")),
        sa.UniqueConstraint("comparison_id", name=op.f("uq_study_items_comparison_id")),
        sa.UniqueConstraint("repeat_of", name=op.f("uq_study_items_repeat_of")),
    )
    op.create_index("ix_study_items_next", "study_items", ["study_id", "role", "n_answered"], unique=False)


def _create_assignments() -> None:
    op.create_table(
        "assignments",
        sa.Column("item_id", sa.String(length=32), nullable=False),
        sa.Column("annotator_id", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("shown_left", sa.String(length=1), nullable=False),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("position >= 0", name=op.f("ck_assignments_position")),
        sa.CheckConstraint("shown_left IN ('a', 'b')", name=op.f("ck_assignments_shown_left")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.id"], name=op.f("fk_assignments_annotator_id")),
        sa.ForeignKeyConstraint(["item_id"], ["study_items.id"], name=op.f("fk_assignments_item_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_assignments_study_id")),
        sa.PrimaryKeyConstraint("item_id", "annotator_id", name=op.f("pk_assignments")),
        sa.UniqueConstraint(
            "study_id", "annotator_id", "position", name=op.f("uq_assignments_study_id_annotator_id_position")
        ),
    )
    op.create_index("ix_assignments_annotator_id", "assignments", ["annotator_id"], unique=False)
    is_open = sa.text("answered_at IS NULL")
    op.create_index(
        "ix_assignments_open", "assignments", ["study_id"], unique=False, sqlite_where=is_open, postgresql_where=is_open
    )


def _create_consents() -> None:
    op.create_table(
        "consents",
        sa.Column("study_id", sa.String(length=32), nullable=False),
        sa.Column("annotator_id", sa.String(length=32), nullable=False),
        sa.Column("text_sha256", sa.String(length=64), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(text_sha256) BETWEEN 64 AND 64", name=op.f("ck_consents_text_sha256_length")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.id"], name=op.f("fk_consents_annotator_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_consents_study_id")),
        sa.PrimaryKeyConstraint("study_id", "annotator_id", name=op.f("pk_consents")),
    )
    op.create_index(op.f("ix_consents_annotator_id"), "consents", ["annotator_id"], unique=False)


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("record_kind", sa.String(length=100), nullable=False),
        sa.Column("record_id", sa.String(length=100), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.CheckConstraint("length(action) BETWEEN 1 AND 100", name=op.f("ck_audit_action_length")),
        sa.CheckConstraint("length(actor) BETWEEN 1 AND 100", name=op.f("ck_audit_actor_length")),
        sa.CheckConstraint("length(record_id) BETWEEN 0 AND 100", name=op.f("ck_audit_record_id_length")),
        sa.CheckConstraint("length(record_kind) BETWEEN 1 AND 100", name=op.f("ck_audit_record_kind_length")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_record_id", "audit", ["record_id"], unique=False)


def _protect_audit(dialect: str) -> None:
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION tiller_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION tiller_refuse_audit_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
    # REPLACE deletes without firing the trigger above unless recursive triggers are on.
    op.execute(
        "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit "
        "WHEN NEW.number IS NOT NULL AND EXISTS (SELECT 1 FROM audit WHERE number = NEW.number) "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )
