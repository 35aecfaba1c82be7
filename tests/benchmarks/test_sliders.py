"""The sliders' benchmark: its verdicts on answers whose truth is known, its tables, and one run from data to pages."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.slider_answers import (
    HARMLESSNESS,
    HELPFULNESS,
    ORDINARY,
    RISKY,
    Judged,
    Prompt,
    bootstrap,
    is_refusal,
    standard_deviation,
)
from benchmarks.slider_pages import write_pages
from benchmarks.sliders import WEIGHTS, curve, main, plane
from steering.types import Message, Role
from tests.models.demo.conftest import write_data
from tests.ui.pages import apart

CHROMIUM = Path("/usr/bin/chromium")
PROMPTS = [
    Prompt((Message(Role.USER, f"Question {index} *with* a [sign]?"),), RISKY if index % 2 else ORDINARY, "here", "MIT")
    for index in range(60)
]


def judged(gain_per_weight: float, worse_at: float | None = None) -> list[Judged]:
    """Answers to all prompts at all weights: each judge's score rises by so much per weight, but for one weight."""
    draw = random.Random(0)
    found = []
    for prompt in PROMPTS:
        level = draw.gauss(0, 1)
        for x in WEIGHTS:
            for y in WEIGHTS:
                scores = {
                    name: level + draw.gauss(0, 0.1) + gain_per_weight * weight - 5 * (weight == worse_at)
                    for name, weight in ((HELPFULNESS, x), (HARMLESSNESS, y))
                }
                text = "I'm sorry, no." if y >= 3 and prompt.kind == RISKY else f"Well, {x} and {y}."
                found.append(Judged(prompt, (x, y), text, 10, x < 4, 0.1 * (x + y), scores))
    return found


def test_a_score_that_rises_is_said_to_rise_by_what_it_rises() -> None:
    found = curve(judged(0.4), HARMLESSNESS)
    points = {point["weight"]: point for point in found["points"]}
    assert found["rises"]
    assert found["is_met"]
    assert found["standard_deviation"] == pytest.approx(1.0, abs=0.25)
    low, high = points[2.0]["gain"][1:]
    assert low < 0.8 / found["standard_deviation"] < high
    assert points[0.0]["gain"] == [0, 0, 0]
    assert points[3.0]["kl"][0] == pytest.approx(0.3)
    assert [points[weight]["refusals_risky"] for weight in WEIGHTS] == [0, 0, 0, 1, 1]
    assert [points[weight]["refusals_ordinary"] for weight in WEIGHTS] == [0] * 5
    assert {point["ended"] for point in points.values()} == {1.0}


def test_a_score_that_hardly_moves_is_not_enough_even_where_it_rises() -> None:
    found = curve(judged(0.05), HELPFULNESS)
    assert found["rises"]
    assert not found["is_met"]


@pytest.mark.parametrize(("gain", "worse_at"), [(0.0, None), (-0.3, None), (0.4, 1.0)], ids=["flat", "falls", "dent"])
def test_a_score_that_does_not_rise_all_the_way_is_said_not_to(gain: float, worse_at: float | None) -> None:
    found = curve(judged(gain, worse_at), HELPFULNESS)
    assert not found["rises"] or gain == 0.0
    assert not found["is_met"]


def test_the_plane_is_counted_over_its_own_prompts_alone() -> None:
    rows = plane(judged(1.0), {id(prompt) for prompt in PROMPTS[:10]})
    assert len(rows) == 25
    means = {(row[HELPFULNESS], row[HARMLESSNESS]): row["scores"] for row in rows}
    assert means[3.0, 1.0][HELPFULNESS][0] - means[0.0, 1.0][HELPFULNESS][0] == pytest.approx(3, abs=0.15)
    assert means[3.0, 1.0][HARMLESSNESS][0] - means[3.0, 0.0][HARMLESSNESS][0] == pytest.approx(1, abs=0.15)


def test_the_bootstrap_is_that_of_theory_for_many_values() -> None:
    draw = random.Random(1)
    values = [draw.gauss(3, 2) for _ in range(2000)]
    found = bootstrap(values)
    half = 1.96 * standard_deviation(values) / 2000**0.5
    assert found.mean == pytest.approx(sum(values) / 2000)
    # a thousand draws tell a quantile to about 5 %
    assert (found.high - found.mean, found.mean - found.low) == pytest.approx((half, half), rel=0.12)


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I’m sorry, but that is not for me.", True),
        ("I can't tell you that.", True),
        ("Stealing is illegal.", True),
        ("I don't think that is a good plan.", True),
        ("You can do it with a spoon.", False),
        ("I can not wait, and I think you should go.", False),
        ("", False),
    ],
)
def test_refusals_are_known_by_their_phrases(text: str, refuses: bool) -> None:
    assert is_refusal(text) is refuses


@pytest.fixture
def report() -> dict[str, object]:
    """A report as the benchmark makes it."""
    answers = judged(0.4)
    card = {"held_out_accuracy": 0.7, "interval": [0.6, 0.8], "n_held_out": 100, "n_pairs": 900, "epochs": 1}
    return {
        "command": "python -m benchmarks.sliders --data data --judges judges",
        "hardware": {"device": "a processor", "cores": 2, "date": "2026-01-01"},
        "judges": {HELPFULNESS: card, HARMLESSNESS: card},
        "share_seen_by_guides": 0.0,
        "n_prompts": 60,
        "n_plane_prompts": 60,
        "n_tokens_at_most": 60,
        "seconds_loading": 1.0,
        "seconds_side_by_side_100_tokens": 2.0,
        "n_answers": len(answers),
        "n_answers_with_blocked_words": 0,
        "curves": {name: curve(answers, name) for name in (HELPFULNESS, HARMLESSNESS)},
        "plane": plane(answers, set(map(id, PROMPTS))),
    }


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="the figure is drawn by Chromium")
def test_the_pages_have_every_figure_a_picture_and_forty_answers_without_markup(
    report: dict[str, object], tmp_path: Path
) -> None:
    apart(lambda: write_pages(tmp_path, report, judged(0.4)))
    page, answers = ((tmp_path / name).read_text() for name in ("sliders.md", "embedded-answers.md"))
    assert page.count("\n| 4 |") == 2 + 3
    assert "## Harmlessness alone" in page
    assert "Wanted are a rise and 0.5: met." in page
    assert answers.count("\n## ") == 40
    assert r"Question 1 \*with\* a \[sign\]?" in answers or r"Question 2 \*with\* a \[sign\]?" in answers
    picture = (tmp_path / "sliders.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 10_000 < len(picture) < 300_000


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="the figure is drawn by Chromium")
def test_one_command_trains_judges_asks_the_embedded_model_and_writes_the_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", n_pairs=60)
    given = ["--data", str(data), "--judges", str(tmp_path / "judges"), "--write", str(tmp_path / "docs")]
    assert apart(lambda: main([*given, "--prompts", "4", "--plane-prompts", "2", "--tokens", "4"])) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["n_answers"] == 2 * 25 + 2 * 9
    assert report["curves"][HELPFULNESS]["points"][0]["kl"] == [0, 0, 0]
    assert report["curves"][HELPFULNESS]["points"][4]["kl"][0] > 0
    assert report["judges"][HELPFULNESS]["n_pairs"] > 0
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == [
        "embedded-answers.md",
        "sliders.md",
        "sliders.png",
    ]


def test_data_that_are_not_there_end_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--judges", str(tmp_path / "judges")]) == 2
    assert "pairs_helpfulness.jsonl" in capsys.readouterr().err
