"""Rows of files: every form of preference data that is documented, and what is refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.training.rows import Preference, RowsRead, read_rows
from steering.errors import InputError
from steering.types import Message, Role
from tests.models.training.conftest import write_rows

ASKED = [{"role": "user", "content": "Hi?"}]
HI = (Message(Role.USER, "Hi?"),)


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def read(tmp_path: Path, *rows: dict[str, object], dimension: str = "wit") -> RowsRead:
    return read_rows([write_rows(tmp_path / "rows.jsonl", list(rows))], dimension)


def texts(preference: Preference) -> tuple[object, ...]:
    return preference.messages, preference.chosen, preference.rejected


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "yes", "rejected": "no"},
        {"prompt": ASKED, "chosen": answer("yes"), "rejected": answer("no")},
        {"prompt": ASKED, "chosen": "yes", "rejected": "no"},
        {"chosen": ASKED + answer("yes"), "rejected": ASKED + answer("no")},
        {"prompt": "Hi?", "chosen": ASKED + answer("yes"), "rejected": ASKED + answer("no")},
        {"chosen": "\n\nHuman: Hi?\n\nAssistant: yes", "rejected": "\n\nHuman: Hi?\n\nAssistant: no"},
        {"prompt": "\n\nHuman: Hi?\n\nAssistant:", "chosen": " yes", "rejected": " no"},
    ],
)
def test_every_form_of_a_pair_is_the_same_pair(tmp_path: Path, row: dict[str, object]) -> None:
    assert texts(read(tmp_path, row).train[0]) == (HI, "yes", "no")


def test_a_transcript_keeps_its_turns_and_what_stands_before_them(tmp_path: Path) -> None:
    before = "Be kind.\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    (found,) = read(tmp_path, {"prompt": before, "chosen": " d", "rejected": " e"}).train
    expected = [(Role.SYSTEM, "Be kind."), (Role.USER, "a"), (Role.ASSISTANT, "b"), (Role.USER, "c")]
    assert [(message.role, message.content) for message in found.messages] == expected


def test_single_responses_are_good_or_bad(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi?", "completion": text, "label": label} for text, label in (("yes", True), ("no", False))]
    assert [texts(each) for each in read(tmp_path, *rows).train] == [(HI, "yes", None), (HI, None, "no")]


def judgement(**more: object) -> dict[str, object]:
    """A row as Tiller exports it in the format full."""
    same = {"judgement_id": "j1", "dimension": "wit", "annotator_id": "ann", "outcome": "a", "is_gold": False}
    rest = {"gold_answer": None, "repeat_of": None, "messages": ASKED, "response_a": "yes", "response_b": "no"}
    return {**same, **rest, "study": "Pilot", **more}


def test_a_judgement_is_a_pair_whose_id_and_annotator_are_kept(tmp_path: Path) -> None:
    (found,) = read(tmp_path, judgement(outcome="b")).train
    assert texts(found) == (HI, "no", "yes")
    assert (found.id, found.annotator, found.source) == ("j1", "ann", "Pilot")


def test_both_bad_is_two_bad_responses_with_ids_of_their_own(tmp_path: Path) -> None:
    found = read(tmp_path, judgement(outcome="both_bad")).train
    assert [texts(each) for each in found] == [(HI, None, "yes"), (HI, None, "no")]
    assert [each.id for each in found] == ["j1/a", "j1/b"]


def test_gold_items_say_how_reliable_an_annotator_is_and_are_not_trained_on(tmp_path: Path) -> None:
    rows = [judgement(is_gold=True, gold_answer="a", outcome=outcome) for outcome in ("a", "b", "tie", "skip")]
    found = read(tmp_path, *rows)
    assert found.train == []
    assert found.gold == {"ann": (1, 3)}


def test_what_is_no_preference_is_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        judgement(outcome="skip"),
        judgement(outcome="tie"),
        judgement(repeat_of="j0"),
        judgement(messages=[]),
        judgement(response_b="yes"),
        judgement(dimension="charm"),
        {"prompt": "Hi?", "chosen": "same", "rejected": "same"},
    ]
    reasons = ("skip", "tie", "repeat", "no_text", "other_dimension")
    assert read(tmp_path, *rows).left_out == {**dict.fromkeys(reasons, 1), "same_responses": 2}


def test_an_exports_folder_has_test_rows_of_its_own(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_rows(tmp_path / f"{name}.jsonl", [{"prompt": name, "chosen": "yes", "rejected": "no"}])
    (tmp_path / "manifest.json").write_text("{}")
    found = read_rows([tmp_path], "wit")
    assert [each.messages[0].content for each in found.train] == ["train"]
    assert [each.messages[0].content for each in found.held_out] == ["test"]


def test_parquet_is_read_like_json_lines(tmp_path: Path) -> None:
    row = {"prompt": ASKED, "chosen": answer("yes"), "rejected": answer("no"), "annotator_id": "ann", "weight": 2.0}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (from_parquet,) = read_rows([tmp_path / "rows.parquet"], "wit").train
    (from_lines,) = read(tmp_path, row).train
    assert from_parquet == from_lines
    assert (from_lines.annotator, from_lines.weight) == ("ann", 2.0)


def test_a_row_without_an_id_gets_one_of_its_content(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi?", "chosen": chosen, "rejected": "no"} for chosen in ("yes", "yes", "well")]
    first, same, other = (each.id for each in read(tmp_path, *rows).train)
    assert first == same != other


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "yes"},
        {"prompt": 7, "chosen": "yes", "rejected": "no"},
        {"prompt": ASKED, "chosen": answer("yes"), "rejected": "no"},
        {"prompt": ASKED, "chosen": ASKED, "rejected": answer("no")},
        {"prompt": ASKED, "chosen": [], "rejected": []},
        {"prompt": answer("yes"), "chosen": answer("a"), "rejected": answer("b")},
        {"prompt": [{"role": "robot", "content": "x"}], "chosen": answer("a"), "rejected": answer("b")},
        {"prompt": [{"role": "user", "content": 7}], "chosen": answer("a"), "rejected": answer("b")},
        {"chosen": "no transcript", "rejected": "no transcript either"},
        {"prompt": "Hi?", "chosen": "yes", "rejected": "no", "weight": -1},
        {"prompt": "Hi?", "chosen": "yes", "rejected": "no", "reliability": "high"},
        judgement(outcome="c"),
        ["a list"],
    ],
)
def test_a_row_that_is_no_preference_is_refused_with_its_number(tmp_path: Path, row: object) -> None:
    rows = [{"prompt": "Hi?", "chosen": "yes", "rejected": "no"}, row]
    with pytest.raises(InputError, match="Row 2 of") as caught:
        read(tmp_path, *rows)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "rows.csv", "broken.jsonl", "broken.parquet", "latin.jsonl", "empty"]
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    contents = {
        "rows.csv": b"a,b",
        "broken.jsonl": b'{"a":',
        "broken.parquet": b"PAR1",
        "latin.jsonl": b'{"a": "\xe4"}',
    }
    if name in contents:
        (tmp_path / name).write_bytes(contents[name])
    if name == "empty":
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        read_rows([tmp_path / name], "wit")
