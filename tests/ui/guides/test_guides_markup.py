"""What the Guides page shows of versions and trainings; nothing a card or a person says becomes HTML."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from models.guides import GuideCard
from models.presets import GuideSpec, Source
from models.training.data import DataReport
from models.training.run_folder import RunFolder
from models.versions.registry import Version
from storage.records_publishing import Publishing
from ui.components import guides_markup, retrain_markup
from ui.guides.actions import GuideView
from ui.guides.asking import Ask
from ui.guides.figures import accuracy_curve, loss_curve
from ui.guides.gate import Gate, Said
from ui.guides.runs import Stage, make_folder
from ui.guides.usable import Usable, WithoutOne
from ui.guides.verdict import Verdict

HOSTILE = "<img src>${alert(1)}"
STEPS = [{"event": "step", "step": n, "n_steps": 4, "loss": 1.0 / n, "seconds_left": 8.0 - 2 * n} for n in (1, 2, 3)]
NEW_GUIDE = "A new guide: its slider appears on pages of Steer that are opened, or loaded again, from now on."
EVALUATED = {"event": "held_out", "step": 2, "n_steps": 4, "held_out_accuracy": 0.75, "held_out_loss": 0.5}


def a_version(number: int, **card: Any) -> Version:
    return Version("wit", number, GuideCard(**card), GuideSpec(Source("x/y")))


def test_a_card_has_every_version_with_lineage_figures_and_state() -> None:
    second = a_version(
        2, parent_version=1, n_pairs=1200, held_out_accuracy=0.7, unit=0.3,
        metrics={"low": 0.6, "high": 0.8}, created_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip
    html = guides_markup.cards([GuideView("wit", (second, a_version(1)), 2, 1, 2)], ["wit"])
    cells = ["2", "active", "version 1", "1 200", "70.0% (60.0%–80.0%)", "0.30", "2026-01-02"]
    assert "".join(f"<td>{cell}</td>" for cell in cells) in html
    assert "<td>1</td><td>kept</td><td>the base</td>" in html
    assert "Version 2 answers" in html
    assert "its slider appears" not in html
    assert "its slider appears" in guides_markup.cards([GuideView("wit", (second,), 2, 1, 2)], ["kindness"])
    assert "There is no guide yet" in guides_markup.cards([], [])


@pytest.mark.parametrize(
    ("active", "answering", "sliders", "told"),
    [
        (1, 1, ["wit"], "Version 1 answers."),
        (2, 1, ["wit"], "Version 1 answers. Version 2 is the active one, but does not answer yet: press “Look again”."),
        (
            1,
            None,
            [],
            "None of its versions answers. Version 1 is the active one, but does not answer yet: press “Look again”.",
        ),
        (None, 1, ["wit"], "Version 1 answers. It was rolled back to no guide, but answers still: press “Look again”."),
        (None, None, [], "None of its versions answers."),
        (0, None, ["wit"], "Version 0 answers."),  # the preset's, whose card has no number
        (1, 1, [], f"Version 1 answers. {NEW_GUIDE}"),
    ],
)
def test_a_card_says_what_answers_and_to_look_again_where_another_version_shall(
    active: int | None, answering: int | None, sliders: list[str], told: str
) -> None:
    html = guides_markup.cards([GuideView("wit", (a_version(1),), active, None, answering)], sliders)
    assert " ".join(re.findall("<p>(.*?)</p>", html)) == told


def test_what_cards_and_people_say_never_becomes_html(tmp_path: Path) -> None:
    hostile = Version(HOSTILE, 1, GuideCard(created_at=HOSTILE, hash=HOSTILE), GuideSpec(Source("x/y")))
    folder = make_folder(tmp_path, Ask("wit", HOSTILE), old=None)
    run = RunFolder(folder.run)
    folder.run.mkdir()
    run.say("failed", message=HOSTILE, hint=HOSTILE)
    report = DataReport(n_train=3, n_held_out=1, quarantined=["a"])
    without = tuple(WithoutOne(name, 1, 1, 0, None, None) for name in "ab")
    found = Usable(report, Counter({HOSTILE: 2}), 0.1, 0.9, 25, without)
    shown = [
        guides_markup.cards([GuideView(HOSTILE, (hostile,), 1, None, 1)], []),
        guides_markup.compared(hostile, hostile),
        guides_markup.advice(hostile, Verdict(is_better=False, worse=(HOSTILE,)), 1, is_active=False),
        retrain_markup.run(folder, Stage.FAILED, folder.progress()),
        retrain_markup.usable(found, {"a": HOSTILE, "b": HOSTILE}),
    ]
    for html in shown:
        assert "&lt;img" in html
        assert "<img" not in html
        assert "${" not in html


@pytest.mark.parametrize(
    ("events", "told", "share"),
    [
        ([], "models and data are read", "0.000"),
        ([*STEPS], "step 3 of 4, about 2 s left", "0.750"),
        ([*STEPS, {"event": "stage", "stage": "calibrating"}], "the unit is measured", "1.000"),
    ],
)
def test_a_training_under_way_has_a_bar_and_the_time_left(
    tmp_path: Path, events: list[dict[str, Any]], told: str, share: str
) -> None:
    html = retrain_markup.run(make_folder(tmp_path, Ask("wit", "wit"), old=None), Stage.TRAINING, events)
    assert told in html
    assert f'<progress value="{share}"' in html


@pytest.mark.parametrize(
    ("verdict", "is_active", "told", "is_caution"),
    [
        (Verdict(is_better=True, worse=()), False, "is better than version 1", False),
        (Verdict(is_better=False, worse=()), False, "is not shown to be better", True),
        (Verdict(is_better=True, worse=("care",)), False, "it lowers the reward of Care by more than 0.10", True),
        (Verdict(is_better=False, worse=(), is_known=False), False, "was not compared", True),
        (Verdict(is_better=False, worse=()), True, "is the one that answers", False),
    ],
)
def test_publishing_comes_with_a_caution_unless_the_version_is_better(
    verdict: Verdict, is_active: bool, told: str, is_caution: bool
) -> None:
    html = guides_markup.advice(a_version(2), verdict, 1, is_active=is_active)
    assert told in html
    assert ('role="alert"' in html) is is_caution


def said(name: str, publish: Publishing, study_id: str = "5" * 32) -> Said:
    return Said(study_id, name, publish)


ON, STRICT, OFF = Publishing(enabled=True), Publishing(enabled=True, margin=0.025), Publishing()
STEER_SAID = said("The Steer page", OFF, "")


@pytest.mark.parametrize(
    ("studies", "told"),
    [
        ([said("Tone", STRICT)], "Study “Tone” publishes a better guide by itself: one that is better on held-out "
         "pairs with 95 % confidence, while no other dimension loses more than 0.025 nats per token."),
        ([said("Tone", ON), said("Wit", STRICT)], "as all its studies ask for: study “Tone”, study “Wit”. It has to "
         "be better on held-out pairs with 95 % confidence, while no other dimension loses more than 0.025 nats"),
        ([said("Tone", OFF)], "Nothing is published by itself: study “Tone” does not ask for it."),
        ([said("Tone", OFF), said("Wit", ON)], "by itself: study “Tone” does not ask for it."),
        ([said("Tone", OFF), said("Wit", OFF), STEER_SAID], "by itself: study “Tone”, study “Wit” do not ask for it."),
        ([said("Tone", ON), STEER_SAID], "judgements of the Steer page are of no study"),
        ([], "there are no such judgements yet"),
        ([said(str(number), OFF) for number in range(9)], "study “4” and 4 more do not ask"),
        ([said(HOSTILE, OFF)], "study “&lt;img src&gt;"),
    ],
)  # fmt: skip
def test_before_a_training_it_is_said_whether_and_by_what_gate_it_is_published(studies: list[Said], told: str) -> None:
    html = retrain_markup.gate(Gate(tuple(studies)))
    assert told in html
    assert "<img" not in html
    is_asked_for = bool(studies) and all(one.publish.enabled for one in studies)
    assert ("Nothing is published" in html) is not is_asked_for


@pytest.mark.parametrize("stage", [Stage.TRAINING, Stage.COMPARING])
def test_a_training_under_way_says_whether_it_is_published(tmp_path: Path, stage: Stage) -> None:
    folder = make_folder(tmp_path, Ask("wit", "wit"), old=None)
    assert "Nothing is published by itself" in retrain_markup.run(folder, stage, STEPS)
    folder.ask_by(Gate((said(HOSTILE, STRICT),)))
    html = retrain_markup.run(folder, stage, STEPS)
    assert "publishes a better guide by itself" in html
    assert "<img" not in html


def test_the_caution_before_publishing_has_the_margin_it_was_held_against() -> None:
    verdict = Verdict(is_better=True, worse=("care",), margin=0.025)
    assert "by more than 0.025 nats" in guides_markup.advice(a_version(2), verdict, 1, is_active=False)


def test_the_curves_have_every_step_once_also_after_a_training_that_went_on() -> None:
    again = [*STEPS, {"event": "resumed"}, *STEPS[1:], EVALUATED]
    trained, held_out = loss_curve(again).data
    assert list(trained.x) == [1, 2, 3]
    assert (list(held_out.x), list(held_out.y)) == ([2], [0.5])
    (curve,) = accuracy_curve([{"event": "before", "accuracy": 0.5}, *again]).data
    assert (list(curve.x), list(curve.y)) == ([0, 2], [0.5, 0.75])
