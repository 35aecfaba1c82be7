"""The Results page over several studies, and with filters: blends are told apart, reliability is that of everything."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from steering.types import Blend
from storage.analysis.preference import Preference
from storage.database import Database, open_database
from storage.records import ComparisonKind, new_id
from storage.records_pairs import NamedBlend
from storage.records_studies import StudyItem, StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from storage.study_tables import StudyItemRow
from storage.tables import JudgementRow
from tests.storage.examples import START, Ticking, a_comparison, a_generation
from tests.storage.study_examples import judge_all, some_settings
from tests.ui.results.simulated import a_judged_study, home_of
from ui.results import figures
from ui.results.actions import ResultsActions, query_of

UNGUIDED = NamedBlend("unguided", {})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(home_of(tmp_path)) as database:
        yield database


def a_study_of(studies: SqlStudies, blend: NamedBlend) -> str:
    """An open study of four comparisons of the unguided answer with one of the blend, by guides of version 3."""
    study = studies.create_study(new_id(), some_settings(blends=(UNGUIDED, blend)))
    items = []
    for _ in range(4):
        right = a_generation(blend=Blend(blend.weights))
        comparison = a_comparison(kind=ComparisonKind.STUDY, sides_known=False, right=right)
        items.append(StudyItem(new_id(), study.id, comparison, UNGUIDED, blend))
    studies.add_items(study.id, items)
    studies.set_state(study.id, StudyState.OPEN)
    return study.id


def test_two_studies_that_call_different_weights_by_one_name_are_not_mixed(database: Database) -> None:
    """The form of a study proposes the name "balanced": with all studies shown, the first one's weights were both's."""
    studies, ada = SqlStudies(database), SqlRepository(database).annotator("h", "Ada").id
    for weight in (1.0, 3.0):
        judge_all(studies, a_study_of(studies, NamedBlend("balanced", {"helpfulness": weight})), ada)
    actions = ResultsActions(SqlResults(database), studies, is_private=True)
    found = actions.find(query_of(None, (None, None), None, 0)).dimension("overall")
    assert {rate.blend for rate in found.win_rates} == {
        "unguided",
        "balanced (helpfulness=1)",
        "balanced (helpfulness=3)",
    }
    assert isinstance(found.preference, Preference)
    assert found.preference.high.tolist() == [3.0]
    only = actions.find(query_of(actions.studies()[0].id, (None, None), None, 0)).dimension("overall")
    assert {rate.blend for rate in only.win_rates} == {"unguided", "balanced"}


def test_a_filter_by_date_does_not_change_who_is_reliable(database: Database) -> None:
    repository, studies = SqlRepository(database, Ticking()), SqlStudies(database, Ticking())
    study_id = a_judged_study(repository, studies, n_items=24, gold_share=0.4)
    results = SqlResults(database)
    actions = ResultsActions(results, studies, is_private=True)
    day = f"{START:%Y-%m-%d}"
    everybody = actions.find(query_of(study_id, (None, None), None, 80))
    assert {everybody.names[one.annotator_id] for one in everybody.annotators} == {"Ada", "Bob"}
    assert actions.find(query_of(study_id, (day, day), None, 80)).counts == everybody.counts
    with database.writing("the gold items were not moved") as session:
        for row in session.query(JudgementRow).all():
            is_gold = session.query(StudyItemRow).filter_by(comparison_id=row.comparison_id).one().role == "gold"
            row.judged_at -= timedelta(days=2 * is_gold)
    narrowed = actions.find(query_of(study_id, (day, day), None, 80))
    assert {narrowed.names[one.annotator_id] for one in narrowed.annotators} == {"Ada", "Bob"}
    assert narrowed.counts.n_gold == 0


def test_rows_whose_names_end_differently_look_different() -> None:
    names = [f"harmlessness=1 helpfulness=2 (helpfulness version {number})" for number in (1, 2)]
    labels, n_lines = figures.labels(names)
    assert len(set(labels)) == 2
    assert n_lines > figures.LABEL_LINES
    assert figures.labels(["a long name that is cut somewhere, for it has no room"] * 2)[1] == figures.LABEL_LINES
