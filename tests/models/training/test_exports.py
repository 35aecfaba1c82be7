"""What Tiller exports is what training reads: files written by the one room and read by the other."""

from pathlib import Path

import pytest

from models.training.rows import read_rows
from storage.exchange.export import ExportPlan, FileKind, export_judgements
from storage.exchange.formats import Format
from storage.exchange.selection import Selection
from storage.records_pairs import Outcome
from tests.storage.judged import a_pair, pairs_of


@pytest.mark.parametrize("format_", [Format.TRL, Format.TRL_CHAT, Format.FULL])
@pytest.mark.parametrize("kind", [FileKind.JSONL, FileKind.PARQUET])
def test_every_decided_judgement_is_a_pair_with_its_id_its_annotator_and_its_texts(
    tmp_path: Path, format_: Format, kind: FileKind
) -> None:
    export_judgements(pairs_of("abtns", dimension="wit"), ExportPlan(format_, kind), tmp_path / "export")
    read = read_rows([tmp_path / "export"], "wit")
    found = [(each.id, each.chosen, each.rejected) for each in read.train if each.chosen is not None]
    assert found == [(f"{0:032x}", "No.", "Yes, of course."), (f"{1:032x}", "Yes, of course.", "No.")]
    assert {each.annotator for each in read.train} == {"a" * 32}
    assert read.train[0].messages[0].content == "Question 0?"
    assert read.train[0].source == "pilot"


def test_a_full_export_has_bad_responses_and_the_reliability_of_annotators_too(tmp_path: Path) -> None:
    gold = [
        a_pair(10 + number, dimension="wit", is_gold=True, gold_answer=Outcome.A, outcome=outcome)
        for number, outcome in enumerate((Outcome.A, Outcome.A, Outcome.B))
    ]
    given = [*pairs_of("abtns", dimension="wit"), *gold]
    export_judgements(given, ExportPlan(Format.FULL), tmp_path / "export")
    read = read_rows([tmp_path / "export"], "wit")
    assert sum(each.chosen is None for each in read.train) == 2
    assert read.gold == {"a" * 32: (2, 3)}
    assert read.left_out == {"tie": 1, "skip": 1, "gold": 3}


def test_the_prompts_that_an_export_sets_apart_are_what_is_tested_on(tmp_path: Path) -> None:
    plan = ExportPlan(selection=Selection(test_share=0.3))
    export_judgements(pairs_of("ab" * 20), plan, tmp_path / "export")
    read = read_rows([tmp_path / "export"], "overall")
    assert len(read.train) + len(read.held_out) == 40
    assert read.held_out
    assert not {each.prompt_key for each in read.train} & {each.prompt_key for each in read.held_out}
