"""What becomes of the data: filters, each document once, and a split by prompt that no file breaks."""

import lzma
from pathlib import Path

import pytest

from models.demo.blocked import blocked_hashes, has_blocked_word, word_hash
from models.demo.build.documents import prepare_documents
from models.demo.build.pairs import held_out_prompts, prepare_pairs
from models.demo.build.rows import plain_words, read_rows
from steering.errors import InputError
from tests.models.demo.conftest import read, user, write, write_data

ENOUGH: list[dict[str, object]] = [{"text": f"This is the sentence with number {index} in it."} for index in range(400)]


def left_out(folder: Path, rows: list[dict[str, object]], tested: frozenset[str] = frozenset()) -> dict[str, int]:
    """What was left out of some documents, by reason, among enough others."""
    write(folder / "data" / "pretrain.jsonl", ENOUGH + rows)
    return prepare_documents(folder / "data", folder / "out", tested, 0)["left_out"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Far too short.", "few_words"),
        ("12 34 56 78 90 == 11 22 {} [] 33 and so on", "few_letters"),
        ("You are all bastards, said he to them.", "blocked_word"),
        ("this IS the sentence, with number: 17 in it", "duplicate"),
    ],
)
def test_a_document_that_does_not_fit_is_left_out_and_counted(text: str, reason: str, tmp_path: Path) -> None:
    assert left_out(tmp_path, [{"text": text}]) == {reason: 1}


def test_a_document_with_a_tested_prompt_is_left_out_wherever_in_it_that_stands(tmp_path: Path) -> None:
    answer = [{"role": "assistant", "content": "That is as it is."}]
    rows: list[dict[str, object]] = [
        {"messages": user("Hello there, you!") + answer + user("how DO I fly") + answer},
        {"messages": user("How do I walk?") + answer},
    ]
    assert left_out(tmp_path, rows, frozenset({"how do i fly"})) == {"tested_prompt": 1}


def test_documents_are_in_one_half_and_the_seed_says_in_which(tmp_path: Path) -> None:
    left_out(tmp_path, [])
    train, validation = (read(tmp_path / "out" / f"{half}.jsonl") for half in ("train", "validation"))
    assert len(train) + len(validation) == 400
    assert 0 < len(validation) < 20
    prepare_documents(tmp_path / "data", tmp_path / "other", frozenset(), seed=1)
    assert read(tmp_path / "other" / "validation.jsonl") != validation


def test_data_are_read_packed_too(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl.xz").write_bytes(lzma.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert list(read_rows(tmp_path, "few.jsonl")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(("content", "said"), [(b'{"a": 1}\n[]\n', "Row 2"), (b'{"a": 1}\n{"b\n', "Row 2")])
def test_a_damaged_row_is_told_by_its_number(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=said):
        list(read_rows(tmp_path, "bad.jsonl"))


def test_data_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no few\.jsonl or few\.jsonl\.xz"):
        list(read_rows(tmp_path, "few.jsonl"))


def test_no_prompt_is_in_two_parts_and_both_halves_are_tested_on_the_same(tmp_path: Path) -> None:
    found = prepare_pairs(write_data(tmp_path / "data"), tmp_path / "pairs", seed=0)
    for dimension in ("helpfulness", "harmlessness"):
        folder = tmp_path / "pairs" / dimension
        guides, judges = read(folder / "guides" / "train.jsonl"), read(folder / "judges" / "train.jsonl")
        tested = read(folder / "guides" / "test.jsonl")
        assert tested == read(folder / "judges" / "test.jsonl")
        said = [{row["prompt"][-1]["content"] for row in part} for part in (guides, judges, tested)]
        assert said[0] & said[1] == said[0] & said[2] == said[1] & said[2] == set()
        assert len(guides) + len(judges) + len(tested) == found[dimension]["n_read"] == 80
        assert len(held_out_prompts(tmp_path / "pairs")[dimension]) == len(said[2])


def test_a_prompt_is_in_the_same_part_in_both_files_and_behind_other_turns(tmp_path: Path) -> None:
    rows = [{"prompt": user(f"Question {index}?"), "chosen": "yes", "rejected": "no"} for index in range(100)]
    before = [*user("Hello."), {"role": "assistant", "content": "Hi."}]
    longer = [{**row, "prompt": [*before, *row["prompt"]]} for row in rows]
    write(tmp_path / "pairs_helpfulness.jsonl", rows)
    write(tmp_path / "pairs_harmlessness.jsonl", longer)
    prepare_pairs(tmp_path, tmp_path / "out", seed=0)
    for half in ("guides", "judges"):
        for name in ("train", "test"):
            said = [
                [row["prompt"][-1] for row in read(tmp_path / "out" / dimension / half / f"{name}.jsonl")]
                for dimension in ("helpfulness", "harmlessness")
            ]
            assert said[0] == said[1] != []


def test_pairs_are_kept_once_and_without_blocked_words_in_what_is_learnt(tmp_path: Path) -> None:
    rows = [{"prompt": user(f"Question {index}?"), "chosen": "yes", "rejected": "no"} for index in range(100)]
    rows += [
        {"prompt": user("question 7"), "chosen": "Yes!", "rejected": "No!"},
        {"prompt": user("Question 8?"), "chosen": "the same", "rejected": "The same."},
        {"prompt": user("Question 9?"), "chosen": "You bastards.", "rejected": "no"},
        {"prompt": user("Question 10?"), "chosen": "Please do not say so.", "rejected": "You bastards."},
    ]
    for dimension in ("helpfulness", "harmlessness"):
        write(tmp_path / f"pairs_{dimension}.jsonl", rows)
    found = prepare_pairs(tmp_path, tmp_path / "out", seed=0)["helpfulness"]
    assert found["left_out"] == {"blocked_word": 1, "duplicate": 1, "same_words": 1}
    assert sum(found["pairs"].values()) == 101


def test_a_row_that_is_no_pair_is_told_by_its_number(tmp_path: Path) -> None:
    for dimension in ("helpfulness", "harmlessness"):
        write(tmp_path / f"pairs_{dimension}.jsonl", [{"prompt": user("Why?"), "chosen": "Because."}])
    with pytest.raises(InputError, match=r"Row 1 of pairs_helpfulness\.jsonl is no pair"):
        prepare_pairs(tmp_path, tmp_path / "out", seed=0)


@pytest.mark.parametrize(
    ("text", "is_blocked"),
    [("What a bastard!", True), ("BASTARDS.", True), ("bastardise", False), ("Nothing bad.", False), ("", False)],
)
def test_blocked_words_are_found_as_whole_words_in_any_case(text: str, is_blocked: bool) -> None:
    assert has_blocked_word(text) is is_blocked


def test_the_list_of_blocked_words_has_only_hashes() -> None:
    assert len(blocked_hashes()) > 40
    assert {len(entry) for entry in blocked_hashes()} == {len(word_hash("any"))}


def test_texts_that_differ_in_signs_and_capitals_have_the_same_words() -> None:
    assert plain_words("Don't  STOP, now!") == plain_words("don t stop now") != plain_words("do stop now")
