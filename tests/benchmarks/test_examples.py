"""Choosing the page's examples: nothing that was trained on, and the largest effect first."""

from pathlib import Path

import pytest

from benchmarks.examples import effects, main, not_seen
from benchmarks.slider_answers import HARMLESSNESS, HELPFULNESS, Judged, Prompt
from steering.errors import InputError
from steering.types import Message, Role
from tests.models.demo.conftest import user, write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Training data with three prompts."""
    answer = {"role": "assistant", "content": "So it is."}
    write(tmp_path / "pretrain.jsonl", [{"messages": [*user("Why is it red?"), answer]}, {"text": "Where is it?"}])
    write(tmp_path / "pairs_helpfulness.jsonl", [{"prompt": user("When is it?")}])
    write(tmp_path / "pairs_harmlessness.jsonl", [{"prompt": [*user("Who is it?"), answer, *user("Is it so?")]}])
    return tmp_path


def test_what_was_trained_on_is_no_example_however_it_is_written(data: Path) -> None:
    asked = ["Why is it blue?", "why IS it red", "When is it", "Who is it?!", "Is it so?", "So it is."]
    assert not_seen(asked, data) == ["Why is it blue?"]
    with pytest.raises(InputError, match="Every candidate"):
        not_seen(asked[1:], data)


def test_the_prompt_whose_own_judges_see_the_largest_change_comes_first() -> None:
    prompts = [Prompt((Message(Role.USER, text),), "candidate", "", "") for text in ("weak", "strong")]
    judged = []
    for prompt, gain in zip(prompts, (0.5, 3.0), strict=True):
        for level in (-1.0, 1.0):  # two seeds; unguided scores have a standard deviation of 2 / sqrt(3)
            for weights in ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0)):
                scores = {
                    HELPFULNESS: level + gain * (weights == (2.0, 0.0)),
                    HARMLESSNESS: level + 2 * gain * (weights == (0.0, 2.0)) - 9 * (weights == (2.0, 0.0)),
                }
                judged.append(Judged(prompt, weights, f"{weights}", 5, True, 0.1, scores))
    strong, weak = effects(judged, 2.0)
    assert (strong["prompt"], weak["prompt"]) == ("strong", "weak")
    spread = 2 / 3**0.5
    # rounded to three digits
    assert strong[HELPFULNESS] == pytest.approx(3 / spread, abs=1e-3)
    assert strong[HARMLESSNESS] == pytest.approx(6 / spread, abs=1e-3)
    assert weak["effect"] == pytest.approx(1.5 / spread, abs=1e-3)


def test_missing_candidates_and_judges_are_told(data: Path, tmp_path: Path) -> None:
    given = ["--data", str(data), "--judges", str(tmp_path / "none")]
    assert main([*given, "--candidates", str(tmp_path / "none.txt")]) == 2
    assert main(given) == 1
