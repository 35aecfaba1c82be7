"""Imports: an archive comes back equal, foreign preferences become judgements, what cannot be used is named by line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from steering.errors import InputError, StorageError
from steering.types import Message, Role
from storage.database import Database, open_database
from storage.exchange.archive import export_archive, import_archive
from storage.exchange.foreign import ForeignPair, read_foreign
from storage.exchange.importing import import_foreign
from storage.records_pairs import JudgedPair, Outcome, PairFilter
from storage.records_publishing import Publishing
from storage.records_studies import Question
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_tables import AssignmentRow, StudyItemRow
from storage.tables import Base
from tests.storage.examples import Ticking, a_click, a_comparison
from tests.storage.study_examples import some_settings

HH = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: "


def written(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "foreign.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def judged(database: Database) -> list[JudgedPair]:
    return list(SqlResults(database).pairs(PairFilter(include_steer=True)))


def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.reading() as session:
        return {
            table.name: [tuple(row) for row in session.execute(select(table).order_by(*table.primary_key.columns))]
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Database:
    """Judgements of the Steer page with history, and an imported study."""
    repository = SqlRepository(database, Ticking())
    annotator = repository.annotator("key", "Ada =1+1")
    for _ in range(3):
        comparison = a_comparison()
        repository.save_comparison(comparison)
        repository.record_judgement(a_click(comparison.id, annotator.id, reason="first"))
        repository.record_judgement(a_click(comparison.id, annotator.id, reason="better 🙂 \u2028"))
    rows = [{"prompt": f"Question {n}", "chosen": "yes", "rejected": "no"} for n in range(4)]
    import_foreign(database, read_foreign(written(tmp_path, *rows)), "pilot")
    return database


def test_an_archive_comes_back_equal_in_every_row_of_every_table(filled: Database, tmp_path: Path) -> None:
    n_rows = export_archive(filled, tmp_path / "archive")
    assert n_rows["judgements"] == 3 * 2 + 4
    with open_database(f"sqlite:///{tmp_path}/new.db") as new:
        assert import_archive(new, tmp_path / "archive") == n_rows
        assert everything(new) == everything(filled)
        assert judged(new) == judged(filled)
        assert new.integrity_check() == ()
        # and it is used like any other
        import_foreign(new, read_foreign(tmp_path / "foreign.jsonl"), "another")


def test_an_archive_is_not_put_into_a_database_with_rows(filled: Database, tmp_path: Path) -> None:
    export_archive(filled, tmp_path / "archive")
    before = everything(filled)
    with pytest.raises(StorageError, match="not empty"):
        import_archive(filled, tmp_path / "archive")
    assert everything(filled) == before


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("judgements.jsonl", lambda text: text[: len(text) // 2], "Line"),
        ("judgements.jsonl", lambda text: text.split("\n", 1)[1], "manifest says"),
        ("judgements.jsonl", lambda text: text.replace('"reason"', '"cause"'), "other columns"),
        ("archive.json", lambda text: text.replace("reason", "cause"), "other tables or columns"),
        ("archive.json", lambda text: text.replace('"revision": "0', '"revision": "9'), "newer Tiller"),
        ("archive.json", lambda text: "[]", "not an archive"),
    ],
)
def test_a_damaged_archive_is_refused_and_nothing_is_imported(
    filled: Database, tmp_path: Path, file: str, change: object, said: str
) -> None:
    export_archive(filled, tmp_path / "archive")
    path = tmp_path / "archive" / file
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with open_database(f"sqlite:///{tmp_path}/new.db") as new:
        with pytest.raises(InputError, match=said):
            import_archive(new, tmp_path / "archive")
        assert all(rows == [] for rows in everything(new).values())


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "Why?", "chosen": "good", "rejected": "bad"}, ["Why?"]),
        ({"chosen": HH + "good", "rejected": HH + "bad"}, ["Hi", "Hello", "Why?"]),
        (
            {
                "prompt": [{"role": "user", "content": "Why?"}],
                "chosen": [{"role": "assistant", "content": "good"}],
                "rejected": [{"role": "assistant", "content": "bad"}],
            },
            ["Why?"],
        ),
        (
            {
                "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "good"}],
                "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "bad"}],
            },
            ["Why?"],
        ),
    ],
    ids=["TRL", "HH", "TRL conversational", "TRL without prompt"],
)
def test_each_form_of_preference_is_read(row: dict[str, object], messages: list[str], tmp_path: Path) -> None:
    (pair,) = read_foreign(written(tmp_path, row)).pairs
    assert [message.content for message in pair.messages] == messages
    assert (pair.chosen, pair.rejected, pair.dimension) == ("good", "bad", "overall")


def test_a_safe_rlhf_row_is_two_preferences(tmp_path: Path) -> None:
    row = {
        "prompt": "Why?",
        "response_0": "zero",
        "response_1": "one",
        "better_response_id": 1,
        "safer_response_id": 0,
    }
    said = (Message(Role.USER, "Why?"),)
    assert read_foreign(written(tmp_path, row)).pairs == (
        ForeignPair(1, said, "one", "zero", "helpfulness"),
        ForeignPair(1, said, "zero", "one", "harmlessness"),
    )


def test_lines_that_cannot_be_used_are_named_and_the_others_read(tmp_path: Path) -> None:
    good = {"prompt": "Why?", "chosen": "good", "rejected": "bad"}
    bad: list[object] = [
        "{not json",
        "[1, 2]",
        {"prompt": "Why?"},
        {**good, "rejected": "good"},
        {**good, "chosen": "half \ud83d"},
        {**good, "chosen": 7},
        {"chosen": "no transcript", "rejected": "no transcript either"},
        {"chosen": HH + "good", "rejected": HH.replace("Hi", "Ho") + "bad"},
        {"prompt": "Why?", "response_0": "a", "response_1": "b", "better_response_id": 2},
        {"prompt": "Why?", "response_0": "a", "response_1": "b"},
        {**good, "prompt": [{"role": "nobody", "content": "x"}], "chosen": [], "rejected": []},
        {**good, "dimension": 5},
        {**good, "dimension": "d" * 101},
    ]
    found = read_foreign(written(tmp_path, good, *bad, "", good))
    assert [refusal.line for refusal in found.refusals] == list(range(2, 2 + len(bad)))
    assert all(refusal.reason for refusal in found.refusals)
    assert (len(found.pairs), found.n_repeated, found.n_lines) == (1, 1, len(bad) + 2)


def test_a_parquet_file_is_read_like_lines(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}", "chosen": "yes", "rejected": "no" if n else "yes"} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "foreign.parquet")
    found = read_foreign(tmp_path / "foreign.parquet")
    assert [pair.line for pair in found.pairs] == [2, 3]
    assert [refusal.line for refusal in found.refusals] == [1]


@pytest.mark.parametrize(("name", "content"), [("a.csv", b"x"), ("a.parquet", b"PAR1 not really"), ("b.jsonl", None)])
def test_a_file_that_cannot_be_read_at_all_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError):
        read_foreign(tmp_path / name)


def test_imported_preferences_are_judgements_with_the_chosen_answer_as_winner(
    database: Database, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(40)]
    report = import_foreign(database, read_foreign(written(tmp_path, *rows, "broken")), "pilot")
    assert (report.n_new, report.n_known, [refusal.line for refusal in report.refusals]) == (40, 0, [41])
    pairs = judged(database)
    assert {pair.study for pair in pairs} == {"imported pilot"}
    winners = [pair.response_a if pair.outcome is Outcome.A else pair.response_b for pair in pairs]
    assert sorted(winners) == sorted(f"good {n}" for n in range(40))
    # The side is drawn: 40 fair draws, four standard deviations are 12.6.
    assert 7 < sum(pair.outcome is Outcome.A for pair in pairs) < 33


def test_importing_again_adds_only_what_is_new(database: Database, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}", "chosen": "yes", "rejected": "no"} for n in range(3)]
    import_foreign(database, read_foreign(written(tmp_path, *rows[:2])), "pilot")
    before = everything(database)
    again = import_foreign(database, read_foreign(written(tmp_path, *rows[:2])), "pilot")
    assert (again.n_new, again.n_known) == (0, 2)
    assert everything(database) == before
    assert import_foreign(database, read_foreign(written(tmp_path, *rows)), "pilot").n_new == 1
    assert len(judged(database)) == 3


def test_importing_again_changes_nothing_once_the_study_publishes_by_itself(database: Database, tmp_path: Path) -> None:
    """It was refused once, as a study that asks something else."""
    file = read_foreign(written(tmp_path, {"prompt": "Why?", "chosen": "yes", "rejected": "no"}))
    import_foreign(database, file, "pilot")
    studies = SqlStudies(database)
    studies.set_publishing(studies.studies()[0].id, Publishing(enabled=True, margin=0.2))
    before = everything(database)
    assert import_foreign(database, file, "pilot").n_known == 1
    assert everything(database) == before


def test_what_was_deleted_with_its_annotator_can_be_imported_again(any_database: Database, tmp_path: Path) -> None:
    """The items stay, and it was once said that everything was there already."""
    rows = [{"prompt": f"Question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(5)]
    first = read_foreign(written(tmp_path, *rows[:3]))
    import_foreign(any_database, first, "pilot")
    before = [(pair.response_a, pair.outcome) for pair in judged(any_database)]
    (imported,) = SqlResults(any_database).annotators_called("imported")
    SqlRepository(any_database).delete_annotator(imported)
    assert judged(any_database) == []
    again = import_foreign(any_database, first, "pilot")
    assert (again.n_new, again.n_known) == (3, 0)
    assert sorted((pair.response_a, pair.outcome) for pair in judged(any_database)) == sorted(before)
    more = import_foreign(any_database, read_foreign(written(tmp_path, *rows)), "pilot")
    assert (more.n_new, more.n_known) == (2, 3)
    with any_database.reading() as session:
        assert session.scalars(select(StudyItemRow.n_answered)).all() == [1] * 5
        assert sorted(session.scalars(select(AssignmentRow.position))) == [0, 1, 2, 3, 4]


def test_an_import_does_not_go_into_a_study_that_somebody_made_under_its_name(
    database: Database, tmp_path: Path
) -> None:
    SqlStudies(database).create_study("imported pilot", some_settings(questions=(Question("overall", "overall"),)))
    with pytest.raises(InputError, match="asks something else"):
        import_foreign(
            database, read_foreign(written(tmp_path, {"prompt": "Why?", "chosen": "yes", "rejected": "no"})), "pilot"
        )


def test_an_import_under_a_name_with_other_questions_is_refused_whole(database: Database, tmp_path: Path) -> None:
    row = {"prompt": "Why?", "chosen": "yes", "rejected": "no"}
    import_foreign(database, read_foreign(written(tmp_path, row)), "pilot")
    before = everything(database)
    with pytest.raises(InputError, match="asks something else"):
        import_foreign(database, read_foreign(written(tmp_path, {**row, "dimension": "safety"})), "pilot")
    assert everything(database) == before


def test_a_file_without_preferences_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="None of the 1 lines"):
        import_foreign(database, read_foreign(written(tmp_path, "{}")), "pilot")


def test_an_archive_moves_to_postgresql_is_added_to_and_moves_back(
    filled: Database, postgresql: Database, tmp_path: Path
) -> None:
    export_archive(filled, tmp_path / "there")
    import_archive(postgresql, tmp_path / "there")
    assert everything(postgresql) == everything(filled)
    # The audit's numbers go on: an entry more does not meet one that is there.
    rows = [{"prompt": "One more?", "chosen": "yes", "rejected": "no"}]
    import_foreign(postgresql, read_foreign(written(tmp_path, *rows)), "pilot")
    export_archive(postgresql, tmp_path / "back")
    with open_database(f"sqlite:///{tmp_path}/new.db") as new:
        import_archive(new, tmp_path / "back")
        assert everything(new) == everything(postgresql)
        assert judged(new) == judged(postgresql)


def test_foreign_preferences_are_imported_on_every_kind_of_database(any_database: Database, tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}", "chosen": "yes", "rejected": "no"} for n in range(1100)]
    file = read_foreign(written(tmp_path, *rows))
    assert import_foreign(any_database, file, "pilot").n_new == 1100
    assert import_foreign(any_database, file, "pilot").n_known == 1100
    assert len(judged(any_database)) == 1100
