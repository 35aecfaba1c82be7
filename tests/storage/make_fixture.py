"""Saves a database of the newest schema and its archive, so that later versions can prove that they read them.

Run once, when a migration is added, from the root of the repository, and commit what it names:

    python -m tests.storage.make_fixture
"""

from pathlib import Path

from steering.types import Choice
from storage import schema
from storage.database import open_database
from storage.exchange.archive import export_archive
from storage.records import OVERALL, Comparison, ComparisonKind, JudgementInput
from storage.records_pairs import Outcome
from storage.records_studies import StudyItem, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_studies import SqlStudies
from tests.storage.examples import Ticking, a_click, a_comparison, a_generation
from tests.storage.study_examples import an_item, judge_all, some_settings

FIXTURES = Path(__file__).parent / "fixtures"
KEY_HASH = "hash of Ada's key"
STUDY = "The first study"


def the_comparison() -> Comparison:
    """The comparison that every saved database holds."""
    return a_comparison(id="c" * 32, left=a_generation(id="1" * 32, text="A third."), right=a_generation(id="2" * 32))


def the_click(annotator_id: str, number: int) -> JudgementInput:
    """The first or second click that every saved database holds."""
    choice = (Choice.TIE, Choice.RIGHT)[number - 1]
    return a_click("c" * 32, annotator_id, choice, client_key=f"click {number}", reason=f"reason {number}")


def the_items(study_id: str) -> list[StudyItem]:
    """The items of the study that every saved database from 0002 on holds; the second is gold."""
    return [
        an_item(
            study_id,
            id=name * 32,
            comparison=a_comparison(
                id=name * 32,
                kind=ComparisonKind.STUDY,
                sides_known=False,
                left=a_generation(id=f"{name}1" * 16, text="A third."),
                right=a_generation(id=f"{name}2" * 16),
            ),
            gold={OVERALL: Outcome.B} if name == "e" else {},
        )
        for name in ("d", "e")
    ]


def judge_the_study(studies: SqlStudies, annotator_id: str) -> None:
    """Both items are judged; what was said of the second is taken back."""
    study = studies.create_study(STUDY, some_settings(consent="Sure?", gold_share=0.5))
    studies.add_items(study.id, the_items(study.id))
    studies.set_state(study.id, StudyState.OPEN)
    studies.accept_consent(study.id, annotator_id)
    given = judge_all(studies, study.id, annotator_id)
    studies.undo(given[-1].item.id, annotator_id)


def main() -> None:
    """Write fixtures/<revision>.db and fixtures/<revision>/; refuses to replace them: old files are the point."""
    file = FIXTURES / f"{schema.newest_revision()}.db"
    assert not file.exists(), f"{file} is there already"
    with open_database(f"sqlite:///{file}") as database:
        repository = SqlRepository(database, Ticking())
        repository.save_comparison(the_comparison())
        person = repository.annotator(KEY_HASH, "Ada")
        for number in (1, 2):
            repository.record_judgement(the_click(person.id, number))
        judge_the_study(SqlStudies(database, Ticking()), person.id)
        export_archive(database, file.with_suffix(""))
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
