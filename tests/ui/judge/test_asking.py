"""What the Judge page asks next in a study that wants to know most where its ranking is uncertain."""

from pathlib import Path

from steering.types import Choice
from storage.database import open_database
from storage.doubtful_items import DoubtfulItems
from storage.records import OVERALL, new_id
from storage.records_pairs import CanonicalSide, NamedBlend
from storage.records_studies import Answer, Ordering, Question, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.study_examples import an_item, some_settings
from ui.judge.actions import JudgeActions

PLAIN, GOOD, OTHER = (NamedBlend(key, {"helpfulness": float(place)}) for place, key in enumerate(("p", "g", "o")))


def test_a_judge_is_asked_first_about_blends_that_nobody_could_tell_apart_yet(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'tiller.db'}") as database:
        repository, studies, results = SqlRepository(database), SqlStudies(database), SqlResults(database)
        settings = some_settings(
            questions=(Question(OVERALL, "Which?"),),
            blends=(PLAIN, GOOD, OTHER),
            ordering=Ordering.UNCERTAIN,
            overlap=1,
        )
        study = studies.create_study("pilot", settings)
        known = [an_item(study.id, blend_a=PLAIN, blend_b=GOOD) for _ in range(16)]
        unknown = [an_item(study.id, blend_a=PLAIN, blend_b=OTHER) for _ in range(8)]
        studies.add_items(study.id, known)
        studies.set_state(study.id, StudyState.OPEN)
        ada = repository.annotator("h", "Ada").id
        for _ in range(8):  # half of the known pair's items, all won by the same blend
            given = studies.next_assignment(study.id, ada)
            assert given is not None
            choice = Choice.RIGHT if given.shown_left is CanonicalSide.A else Choice.LEFT
            studies.answer([Answer(given.item.id, ada, OVERALL, choice, new_id())])
        studies.add_items(study.id, unknown)
        for name in ("Bob", "Cleo", "Dan", "Eve", "Fay"):  # by chance all from the unknown half once in 39
            actions = JudgeActions(repository, studies, tmp_path, DoubtfulItems(results))
            shown = actions.start(study.id, name, False).shown
            assert shown is not None
            assert shown.item_id in {item.id for item in unknown}
