"""The first records: annotators, generations with their guides, comparisons, judgements and repeated clicks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_annotators()
    _create_generations()
    _create_comparisons()
    _create_generation_guides()
    _create_judgements()
    _create_repeated_clicks()


def _create_annotators() -> None:
    op.create_table(
        "annotators",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("display_name", sa.String(length=100), nullable=False),
        sa.Column("key_hash", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(display_name) BETWEEN 0 AND 100", name=op.f("ck_annotators_display_name_length")),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_annotators_id_length")),
        sa.CheckConstraint("length(key_hash) BETWEEN 1 AND 100", name=op.f("ck_annotators_key_hash_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotators")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_annotators_key_hash")),
    )


def _create_generations() -> None:
    op.create_table(
        "generations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("messages", sa.Text(), nullable=False),
        sa.Column("prompt_token_ids", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("base_id", sa.String(length=4096), nullable=False),
        sa.Column("base_revision", sa.String(length=4096), nullable=False),
        sa.Column("base_exponent", sa.Double(), nullable=False),
        sa.Column("temperature", sa.Double(), nullable=False),
        sa.Column("top_k", sa.Integer(), nullable=False),
        sa.Column("top_p", sa.Double(), nullable=False),
        sa.Column("min_p", sa.Double(), nullable=False),
        sa.Column("max_new_tokens", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("plausibility", sa.Double(), nullable=True),
        sa.Column("stop_at_eos", sa.Boolean(), nullable=False),
        sa.Column("finish_reason", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("kl_per_token", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("finish_reason IN ('eos', 'length', 'stopped')", name=op.f("ck_generations_finish_reason")),
        sa.CheckConstraint("base_exponent >= 0", name=op.f("ck_generations_base_exponent")),
        sa.CheckConstraint("length(base_id) BETWEEN 1 AND 4096", name=op.f("ck_generations_base_id_length")),
        sa.CheckConstraint(
            "length(base_revision) BETWEEN 0 AND 4096", name=op.f("ck_generations_base_revision_length")
        ),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_generations_id_length")),
        sa.CheckConstraint("max_new_tokens >= 1", name=op.f("ck_generations_max_new_tokens")),
        sa.CheckConstraint("min_p BETWEEN 0 AND 1", name=op.f("ck_generations_min_p")),
        sa.CheckConstraint("plausibility BETWEEN 0 AND 1", name=op.f("ck_generations_plausibility")),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_generations_seconds")),
        sa.CheckConstraint("seed >= 0", name=op.f("ck_generations_seed")),
        sa.CheckConstraint("temperature BETWEEN 0 AND 10", name=op.f("ck_generations_temperature")),
        sa.CheckConstraint("top_k BETWEEN 0 AND 2147483647", name=op.f("ck_generations_top_k")),
        sa.CheckConstraint("top_p > 0 AND top_p <= 1", name=op.f("ck_generations_top_p")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
    )


def _create_comparisons() -> None:
    op.create_table(
        "comparisons",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("left_generation_id", sa.String(length=32), nullable=False),
        sa.Column("right_generation_id", sa.String(length=32), nullable=False),
        sa.Column("sides_known", sa.Boolean(create_constraint=True, name="sides_known"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('steer')", name=op.f("ck_comparisons_kind")),
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
    op.create_index(op.f("ix_comparisons_left_generation_id"), "comparisons", ["left_generation_id"], unique=False)
    op.create_index(op.f("ix_comparisons_right_generation_id"), "comparisons", ["right_generation_id"], unique=False)


def _create_generation_guides() -> None:
    op.create_table(
        "generation_guides",
        sa.Column("generation_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("guide_id", sa.String(length=4096), nullable=False),
        sa.Column("dimension", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("unit", sa.Double(), nullable=False),
        sa.Column("sha256", sa.String(length=100), nullable=False),
        sa.Column("weight", sa.Double(), nullable=True),
        sa.Column("exponent", sa.Double(), nullable=True),
        sa.Column("reward", sa.Double(), nullable=True),
        sa.CheckConstraint("length(dimension) BETWEEN 1 AND 100", name=op.f("ck_generation_guides_dimension_length")),
        sa.CheckConstraint("length(guide_id) BETWEEN 1 AND 4096", name=op.f("ck_generation_guides_guide_id_length")),
        sa.CheckConstraint("length(sha256) BETWEEN 1 AND 100", name=op.f("ck_generation_guides_sha256_length")),
        sa.CheckConstraint("position >= 0", name=op.f("ck_generation_guides_position")),
        sa.CheckConstraint("version >= 0", name=op.f("ck_generation_guides_version")),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_generation_guides_generation_id")),
        sa.PrimaryKeyConstraint("generation_id", "position", name=op.f("pk_generation_guides")),
        sa.UniqueConstraint("generation_id", "dimension", name=op.f("uq_generation_guides_generation_id_dimension")),
    )


def _create_judgements() -> None:
    op.create_table(
        "judgements",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("comparison_id", sa.String(length=32), nullable=False),
        sa.Column("annotator_id", sa.String(length=32), nullable=False),
        sa.Column("dimension", sa.String(length=100), nullable=False),
        sa.Column("choice", sa.String(length=16), nullable=False),
        sa.Column("client_key", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("choice IN ('left', 'right', 'tie', 'both_bad', 'skip')", name=op.f("ck_judgements_choice")),
        sa.CheckConstraint("length(client_key) BETWEEN 1 AND 100", name=op.f("ck_judgements_client_key_length")),
        sa.CheckConstraint("length(dimension) BETWEEN 1 AND 100", name=op.f("ck_judgements_dimension_length")),
        sa.CheckConstraint("length(id) BETWEEN 32 AND 32", name=op.f("ck_judgements_id_length")),
        sa.CheckConstraint("length(reason) BETWEEN 0 AND 2000", name=op.f("ck_judgements_reason_length")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_judgements_revision")),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotators.id"], name=op.f("fk_judgements_annotator_id")),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparisons.id"], name=op.f("fk_judgements_comparison_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgements")),
        sa.UniqueConstraint("client_key", name=op.f("uq_judgements_client_key")),
        sa.UniqueConstraint(
            "comparison_id",
            "annotator_id",
            "dimension",
            "revision",
            name=op.f("uq_judgements_comparison_id_annotator_id_dimension_revision"),
        ),
    )
    op.create_index("ix_judgements_annotator_id_judged_at", "judgements", ["annotator_id", "judged_at"], unique=False)
    op.create_index(
        "ix_judgements_recent",
        "judgements",
        ["judged_at", "id"],
        unique=False,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_index(
        "uq_judgements_current",
        "judgements",
        ["comparison_id", "annotator_id", "dimension"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )


def _create_repeated_clicks() -> None:
    op.create_table(
        "repeated_clicks",
        sa.Column("client_key", sa.String(length=100), nullable=False),
        sa.Column("judgement_id", sa.String(length=32), nullable=False),
        sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("length(client_key) BETWEEN 1 AND 100", name=op.f("ck_repeated_clicks_client_key_length")),
        sa.ForeignKeyConstraint(["judgement_id"], ["judgements.id"], name=op.f("fk_repeated_clicks_judgement_id")),
        sa.PrimaryKeyConstraint("client_key", name=op.f("pk_repeated_clicks")),
    )
    op.create_index(op.f("ix_repeated_clicks_judgement_id"), "repeated_clicks", ["judgement_id"], unique=False)
