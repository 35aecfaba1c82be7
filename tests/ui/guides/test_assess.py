"""What new and old are compared on: pairs the old one never saw, and figures of answers counted by hand."""

import json
from pathlib import Path

import pytest

from models.answers import Answer
from models.guides import GuideCard
from models.presets import GuideSpec, Source
from models.versions.registry import Version
from steering.types import Blend, FinishReason, StepTrace
from tests.storage.judged import a_pair
from tests.ui.guides.test_usable import Judged
from ui.guides.asking import Ask
from ui.guides.assess import figures_of, held_out
from ui.guides.usable import write_data


def an_answer(text: str, kls: list[float], logprob: float) -> Answer:
    steps = tuple(StepTrace(1, -1.0, -1.0, {"wit": logprob}, kl, 1.0) for kl in kls)
    return Answer(Blend(), {}, text, (1,) * len(kls), FinishReason.EOS, 1.0, steps)


def test_the_figures_of_answers_are_means_counted_by_hand() -> None:
    found = figures_of([an_answer("a b a b", [0.1, 0.3], -1.0), an_answer("a c", [0.4] * 4, -2.0)], ["wit"])
    assert found["kl_per_token"] == pytest.approx((0.2 + 0.4) / 2)
    assert found["n_tokens"] == 3.0
    assert found["distinct_1"] == pytest.approx(3 / 6)
    assert found["distinct_2"] == pytest.approx(3 / 4)  # a b, b a, a b, a c
    assert found["rewards"] == {"wit": -1.5}


def test_answers_that_ended_at_once_have_no_figures() -> None:
    found = figures_of([an_answer("", [], 0.0)], ["wit"])
    assert found == {"kl_per_token": None, "n_tokens": 0.0, "distinct_1": None, "distinct_2": None,
                     "rewards": {"wit": None}}  # fmt: skip


def test_pairs_the_old_version_was_trained_on_are_not_held_against_the_new_one(tmp_path: Path) -> None:
    pairs = [a_pair(number, dimension="wit") for number in range(6)]
    ids = [pair.judgement_id for pair in pairs]
    write_data(Judged(pairs), Ask("wit", "wit"), tmp_path / "data")  # type: ignore[arg-type]
    halves = ["train", "train", "held_out", "held_out", "held_out", "held_out"]
    lines = [json.dumps({"id": one, "half": half}) for one, half in zip(ids, halves, strict=True)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    old = Version("wit", 1, GuideCard(data_ids=(ids[2], ids[0])), GuideSpec(Source("x/y")))
    found = held_out(tmp_path / "data", tmp_path, "wit", old)
    assert [pair.messages[0].content for pair in found] == ["Question 3?", "Question 4?", "Question 5?"]
    assert {(pair.chosen, pair.rejected) for pair in found} == {("No.", "Yes, of course.")}
    assert len(held_out(tmp_path / "data", tmp_path, "wit", None)) == 4
