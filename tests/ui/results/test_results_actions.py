"""The Results page without Gradio, over real SQLite with annotators whose taste is known."""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from steering.errors import InputError
from steering.types import Choice
from storage.analysis.intervals import Lack
from storage.analysis.preference import Preference
from storage.analysis.ratings import Ratings
from storage.database import open_database
from storage.exchange.export import ExportPlan
from storage.records import Strength
from storage.records_pairs import CanonicalSide
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_click, a_comparison
from tests.storage.study_examples import an_open_study, answers_to, judge_all
from tests.ui.pages import a_request, in_a_page
from tests.ui.results.simulated import PEAK, a_judged_study, home_of
from ui import wording_results as wording
from ui.components.results import build_results
from ui.results.actions import STEER, Query, ResultsActions, blend_from, blend_link, query_of
from ui.results.figures import plain
from ui.results.handlers import ResultsHandlers
from ui.results.parts import Part, draw
from ui.results.tables import Table

ALL = query_of(None, (None, None), None, 0)


@dataclass(frozen=True)
class Desk:
    """A database with its page's actions."""

    repository: SqlRepository
    studies: SqlStudies
    results: SqlResults

    def actions(self, is_private: bool = True) -> ResultsActions:
        return ResultsActions(self.results, self.studies, is_private=is_private)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_database(home_of(tmp_path)) as database:
        yield Desk(SqlRepository(database), SqlStudies(database), SqlResults(database))


def test_every_lack_has_words() -> None:
    assert set(wording.LACKS) == set(Lack)


def test_the_blend_that_simulated_people_prefer_is_within_its_interval_and_its_link_leads_back(desk: Desk) -> None:
    found = (
        desk.actions().find(query_of(a_judged_study(desk.repository, desk.studies), (None, None), None, 0)).together()
    )
    assert isinstance(found, Preference)
    for axis, best in PEAK.items():
        # The simulation is one seeded draw, whose 95 % interval holds the truth; a tenth is for where it ends.
        assert found.preferred[axis].low - 0.1 <= best <= found.preferred[axis].high + 0.1
    link = blend_link(found)
    assert link is not None
    weights = blend_from(parse_qs(urlsplit(link).query)["blend"][0])
    assert weights == {axis: pytest.approx(found.preferred[axis].value, abs=0.005) for axis in PEAK}


@pytest.mark.parametrize("n_judged", [0, 1])
def test_with_no_or_one_judged_item_every_part_says_what_is_missing(desk: Desk, n_judged: int) -> None:
    study_id = an_open_study(desk.studies, 1)
    judge_all(desk.studies, study_id, desk.repository.annotator("h", "Ada").id, at_most=n_judged)
    findings = desk.actions().find(ALL)
    assert findings.counts.n_judgements == 2 * n_judged
    parts = Part if n_judged else (Part.WANT, Part.ANNOTATORS, Part.PACE)
    for part in parts:
        drawn = draw(part, findings, findings.dimensions[0] if n_judged and part is not Part.WANT else None)
        assert drawn.note
        if part in (Part.AGREEMENT, Part.INFLUENCE, Part.PACE):
            assert drawn.figure is None


def test_the_figures_are_kept_until_somebody_judges_or_takes_back(desk: Desk) -> None:
    study_id = an_open_study(desk.studies, 3)
    ada = desk.repository.annotator("h", "Ada").id
    given = judge_all(desk.studies, study_id, ada, at_most=2)
    actions = desk.actions()
    first = actions.find(ALL)
    assert actions.find(ALL) is first
    desk.studies.answer(answers_to(given[0], Choice.TIE))
    second = actions.find(ALL)
    assert second is not first
    assert second.counts.n_ties == 2  # in both dimensions
    desk.studies.undo(given[1].item.id, ada)
    assert actions.find(ALL).counts.n_judgements == 2
    desk.repository.delete_annotator(ada)
    assert actions.find(ALL).counts.n_judgements == 0


def test_unreliable_annotators_are_left_out_and_counted(desk: Desk) -> None:
    actions = desk.actions()
    study_id = a_judged_study(desk.repository, desk.studies, n_items=24, gold_share=0.4)
    everybody = actions.find(query_of(study_id, (None, None), None, 0))
    reliable = actions.find(query_of(study_id, (None, None), None, 80))
    names = {everybody.names[one.annotator_id] for one in reliable.annotators}
    assert names == {"Ada", "Bob"}  # Cleo gets every gold item wrong
    assert reliable.n_left_out == everybody.counts.n_judgements - reliable.counts.n_judgements > 0


def test_judgements_of_the_steer_page_are_looked_at_alone_and_are_in_no_study(desk: Desk) -> None:
    actions = desk.actions()
    a_judged_study(desk.repository, desk.studies, n_items=3)
    assert actions.n_on_steer() == 0
    ada = desk.repository.annotator("of Steer", group="visitors").id
    comparison = a_comparison()
    desk.repository.save_comparison(comparison)
    desk.repository.record_judgement(a_click(comparison.id, ada, Choice.RIGHT))
    assert actions.n_on_steer() == 1
    assert actions.groups(STEER) == ("visitors",)
    (rate,) = actions.find(query_of(STEER, (None, None), None, 0)).dimension("overall").pair_rates
    assert (rate.blend, rate.other) == ("unguided", "harmlessness=-0.1 helpfulness=2 (helpfulness version 3)")
    assert (rate.tally.n_wins, rate.tally.n_losses) == (0, 1)
    assert ada not in actions.find(ALL).names


def test_slight_preferences_count_less_where_that_is_asked_for(desk: Desk) -> None:
    study_id = an_open_study(desk.studies, 8)
    ada = desk.repository.annotator("h", "Ada").id
    while (given := desk.studies.next_assignment(study_id, ada)) is not None:
        better = Choice.RIGHT if given.shown_left is CanonicalSide.A else Choice.LEFT
        desk.studies.answer(answers_to(given, better, strength=Strength.SLIGHTLY))
    found = [desk.actions().find(query_of(None, (None, None), None, 0, graded)) for graded in (False, True)]
    plain, weighed = (findings.dimension("overall").ratings for findings in found)
    assert isinstance(plain, Ratings)
    assert isinstance(weighed, Ratings)
    assert weighed.blends[0].rating.value < plain.blends[0].rating.value
    assert weighed.blends[0].blend == plain.blends[0].blend
    assert found[0].counts.n_slight == 16  # of both dimensions


def test_the_overall_question_comes_first(desk: Desk) -> None:
    judge_all(desk.studies, an_open_study(desk.studies, 1), desk.repository.annotator("h", "Ada").id)
    assert desk.actions().find(ALL).dimensions == ("overall", "helpfulness")


def test_days_are_whole_and_the_last_is_included() -> None:
    wanted = query_of(None, ("2026-03-01", " 2026-03-01 "), None, 0).wanted
    assert wanted.since is not None
    assert wanted.until is not None
    assert (wanted.until - wanted.since).total_seconds() == 24 * 3600


@pytest.mark.parametrize(
    "filters",
    [
        (None, ("yesterday", None), None, 0),
        (None, ("9999-12-31", "9999-12-31"), None, 0),
        (None, ("2026-03-02", "2026-03-01"), None, 0),
        (3, (None, None), None, 0),
        (None, (None, None), ["a"], 0),
        (None, (None, None), None, 101),
        (None, (None, None), None, float("nan")),
        (None, (None, None), None, None),
        (None, (None, None), None, 0, "yes"),
    ],
)
def test_a_filter_the_page_does_not_offer_is_refused(filters: tuple[Any, ...]) -> None:
    with pytest.raises(InputError):
        query_of(*filters)


@pytest.mark.parametrize("text", ["", "[]", '{"a": "1"}', '{"a": NaN}', '{"a": 1e9}', '{"a": true}', "[" * 1900])
def test_a_link_that_names_no_weights_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        blend_from(text)


def test_an_export_is_one_zip_file_with_its_manifest_and_none_is_made_where_anybody_may_look(
    desk: Desk, tmp_path: Path
) -> None:
    judge_all(desk.studies, an_open_study(desk.studies, 2), desk.repository.annotator("h", "Ada").id)
    export = desk.actions().export(Query(ALL.wanted), ExportPlan(), tmp_path)
    with zipfile.ZipFile(export.path) as file:
        (manifest,) = [name for name in file.namelist() if name.endswith("manifest.json")]
        assert json.loads(file.read(manifest))["n_judgements"] == export.manifest.n_judgements == 4
    with pytest.raises(InputError, match="open to anybody"):
        desk.actions(is_private=False).export(ALL, ExportPlan(), tmp_path)


def test_where_anybody_may_look_annotators_have_numbers_and_no_names(desk: Desk) -> None:
    judge_all(desk.studies, an_open_study(desk.studies, 2), desk.repository.annotator("h", "Ada").id)
    assert list(desk.actions().find(ALL).names.values()) == ["Ada"]
    assert list(desk.actions(is_private=False).find(ALL).names.values()) == ["Annotator 1"]


def test_who_came_through_a_proxy_gets_no_names_and_no_export_where_somebody_at_this_machine_does(desk: Desk) -> None:
    judge_all(desk.studies, an_open_study(desk.studies, 2), desk.repository.annotator("h", "Ada").id)
    handlers = ResultsHandlers(in_a_page(lambda: build_results(is_private=True)), desk.actions())
    filters = [None, "", "", "", 0, False]
    here, proxied = a_request("localhost:7860"), a_request("tiller.example")
    for request, is_let_in in ((here, True), (proxied, False), (here, True)):
        opened = handlers.opened(request)
        assert ("Ada" in str(opened), "Annotator 1" in str(opened)) == (is_let_in, not is_let_in)
        csv = handlers.csv_of(Part.ANNOTATORS)(request, *filters, None, None)
        assert ("Ada" in str(csv), "Annotator 1" in str(csv)) == (is_let_in, not is_let_in)
        exported = handlers.export(request, "trl", "jsonl", 0, *filters)
        assert ("open to anybody" not in str(exported)) is is_let_in
        assert ("tiller-trl" in str(exported)) is is_let_in


def test_a_table_as_csv_runs_nothing_in_a_spreadsheet() -> None:
    text = Table(("blend", "low "), [["=HYPERLINK(1)", -0.5], ['a,"b"', ""]]).to_csv()
    assert list(csv.reader(io.StringIO(text.removeprefix("\ufeff")))) == [
        ["blend", "low"],
        ["'=HYPERLINK(1)", "-0.5"],
        ['a,"b"', ""],
    ]


def test_plotly_finds_no_tag_in_a_name() -> None:
    assert plain("<b>&lt;\nx</b>") == "&lt;b&gt;&amp;lt; x&lt;/b&gt;"
