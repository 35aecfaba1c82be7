"""What the studies behind a training say of publishing it by itself, read from a real store."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from steering.types import Choice
from storage.database import Database, open_database
from storage.records_publishing import Publishing
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.examples import a_click, a_comparison
from tests.ui.results.simulated import a_judged_study, home_of
from ui.guides.asking import Ask
from ui.guides.gate import (
    Decision,
    Gate,
    Refusal,
    Said,
    decide,
    decision_from,
    gate_from,
    gate_of,
    studies_in,
    studies_meant,
)
from ui.guides.usable import write_data
from ui.guides.verdict import Verdict
from ui.results.actions import STEER

ON = Publishing(enabled=True, margin=0.2)
STRICT = Publishing(enabled=True, margin=0.05)
OFF = Publishing(margin=0.01)
GOOD = Verdict(is_better=True, worse=(), margin=0.05)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(home_of(tmp_path)) as opened:
        yield opened


def a_study(database: Database, publish: Publishing, names: tuple[str, ...] = ("Ada", "Bob")) -> str:
    return a_judged_study(SqlRepository(database), SqlStudies(database), 9, names, publish=publish)


def test_all_studies_that_were_judged_have_to_ask_for_it_and_the_strictest_margin_counts(database: Database) -> None:
    studies = SqlStudies(database)
    first, second = a_study(database, ON), a_study(database, STRICT)
    gate = gate_of(studies, [first, second, first])
    assert (gate.is_asked_for, gate.margin) == (True, 0.05)
    third = a_study(database, OFF)
    gate = gate_of(studies, [first, second, third])
    assert (gate.is_asked_for, [one.study_id for one in gate.against]) == (False, [third])
    assert gate.margin == 0.1, "a margin that is not asked for is none"
    for others in (["no such study"], [""], []):
        assert not gate_of(studies, others).is_asked_for
    assert not gate_of(studies, [first, ""]).is_asked_for
    assert not gate_of(studies, [first, "no such study"]).is_asked_for


def test_a_gate_and_a_decision_come_back_from_their_files_equal(database: Database) -> None:
    gate = gate_of(SqlStudies(database), [a_study(database, ON), a_study(database, OFF), ""])
    assert gate_from(json.loads(json.dumps(gate.as_json()))) == gate
    for decision in (Decision(0.1), Decision(0.05, Refusal.WORSE, ("care", "wit"))):
        assert decision_from(json.loads(json.dumps(decision.as_json()))) == decision


def test_the_studies_meant_are_those_whose_judgements_are_written_for_the_training(
    database: Database, tmp_path: Path
) -> None:
    repository, results = SqlRepository(database), SqlResults(database)
    both, of_cleo = a_study(database, ON), a_study(database, ON, ("Cleo",))
    SqlStudies(database).create_study("Nobody judged it", SqlStudies(database).study(both).settings)
    comparison = a_comparison()
    repository.save_comparison(comparison)
    ada, cleo = (repository.annotator(f"hash-{name}").id for name in ("Ada", "Cleo"))
    repository.record_judgement(a_click(comparison.id, ada, Choice.LEFT))
    asked = {
        Ask("overall", "wit"): {both, of_cleo},
        Ask("overall", "wit", without=(cleo,)): {both},
        Ask("overall", "wit", study_id=of_cleo): {of_cleo},
        Ask("overall", "wit", study_id=STEER): {""},
        Ask("tone", "tone"): set(),
        Ask("overall", "wit", until="2001-01-01"): set(),
    }
    for number, (ask, expected) in enumerate(asked.items()):
        assert studies_meant(results, ask) == expected
        write_data(results, ask, tmp_path / str(number))
        assert studies_in(tmp_path / str(number)) == expected


@pytest.mark.parametrize(
    ("publish", "verdict", "meanwhile", "expected"),
    [
        (ON, GOOD, "", Decision(0.05)),
        (OFF, GOOD, "", Decision(0.05, Refusal.OFF, ("Wits",))),
        (ON, GOOD, "superseded", Decision(0.05, Refusal.SUPERSEDED)),
        (ON, GOOD, "taken back", Decision(0.05, Refusal.TAKEN_BACK)),
        (ON, Verdict(is_better=False, worse=()), "", Decision(0.1, Refusal.NOT_BETTER)),
        (ON, Verdict(is_better=True, worse=(), is_known=False), "", Decision(0.1, Refusal.NOT_BETTER)),
        (ON, Verdict(is_better=True, worse=("care",)), "", Decision(0.1, Refusal.WORSE, ("care",))),
    ],
)
def test_a_version_is_published_by_itself_only_where_nothing_speaks_against_it(
    publish: Publishing, verdict: Verdict, meanwhile: str, expected: Decision
) -> None:
    gate = Gate((Said("5" * 32, "Wits", publish),))
    is_superseded, is_taken_back = meanwhile == "superseded", meanwhile == "taken back"
    assert decide(gate, verdict, is_superseded=is_superseded, is_taken_back=is_taken_back) == expected
