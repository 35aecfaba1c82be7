"""Whatever a study, a prompt or an error says comes out of the Studies page's HTML as text."""

from datetime import UTC, datetime

import pytest
from hypothesis import given

from steering.errors import PromptError
from steering.types import Message, Role
from storage.records import new_id
from storage.records_audit import AuditEntry
from storage.records_publishing import OFF, Publishing
from storage.records_studies import StudyState, StudySummary
from tests.ui.test_markup import OURS, Reader, hostile
from ui import wording_studies as wording
from ui.components import studies_markup
from ui.prompt_files import ReadPrompt
from ui.studies import GeneratingProgress
from ui.studying.actions import Deed, Listed, Stage
from ui.studying.writing import Written

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def read(fragment: str) -> Reader:
    assert "${" not in fragment, "Gradio compiles templates; no text may carry an expression"
    assert "`" not in fragment
    reader = Reader()
    reader.feed(fragment)
    reader.close()
    assert reader.tags <= OURS | {"h3", "button", "progress"}
    allowed = {"class", "role", "aria-live", "aria-label", "tabindex", "scope", "href", "type", "value", "max"}
    assert set(reader.attributes) <= allowed | {"data-study", "data-deed"}
    return reader


def listed(stage: Stage, name: str = "Pilot", failure: str = "", publish: Publishing = OFF) -> Listed:
    state = {Stage.OPEN: StudyState.OPEN, Stage.CLOSED: StudyState.CLOSED}.get(stage, StudyState.GENERATING)
    return Listed(StudySummary(new_id(), name, state, NOW, 4, 3, 8, publish), stage, 4, 9, failure)


@given(text=hostile)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    study = listed(Stage.STOPPED, text, text)
    assert read(studies_markup.listing([study], True)).text.count(text) >= 2
    written = Written(study.summary.id, GeneratingProgress(1, 2, 3.0))
    assert text in read(studies_markup.now_writing(written, {study.summary.id: text})).text
    lines = [ReadPrompt(1, (Message(Role.USER, text),)), ReadPrompt(2, None, PromptError(text))]
    assert read(studies_markup.preview(lines)).text.count(text.strip()) >= 2
    entry = AuditEntry(1, NOW, study.summary.id, "made", "study", study.summary.id, {"study": study.summary.id})
    assert read(studies_markup.changes([entry], {study.summary.id: text})).text.count(text) >= 2


@pytest.mark.parametrize("stage", Stage)
def test_a_study_offers_what_can_be_done_with_it_now(stage: Stage) -> None:
    words = {
        Stage.WRITING: {"Stop"},
        Stage.WAITING: {"Stop"},
        Stage.STOPPED: {"Go on writing"},
        Stage.OPEN: {"Judge", "Results", "Close"},
        Stage.CLOSED: {"Results", "Open again"},
    }[stage]
    offered = {"Judge", "Results", *wording.DEEDS.values()}
    html = studies_markup.listing([listed(stage)], is_private=True)
    assert {word for word in offered if f">{word}<" in html} == words | {"Save as TOML", "Publish by itself"}
    public = studies_markup.listing([listed(stage)], is_private=False)
    assert {word for word in offered if f">{word}<" in public} == words & {"Judge", "Results"}
    assert "<button" not in public


@pytest.mark.parametrize(("margin", "shown"), [(0.1, "0.10"), (0, "0.00"), (0.025, "0.025"), (2.5, "2.50")])
def test_a_study_that_publishes_says_by_which_margin_to_everybody_and_who_may_can_stop_it(
    margin: float, shown: str
) -> None:
    study = listed(Stage.OPEN, publish=Publishing(enabled=True, margin=margin))
    for is_private in (True, False):
        html = studies_markup.listing([study], is_private)
        assert f"no other dimension may lose more than {shown} nats per token" in read(html).text
        assert (">Stop publishing by itself<" in html) is is_private
        assert ">Publish by itself<" not in html
    assert "published by itself" not in studies_markup.listing([listed(Stage.OPEN)], is_private=False)


def test_every_stage_and_deed_has_words() -> None:
    assert set(wording.STAGES) == set(Stage)
    assert set(wording.DEEDS) == {*Deed, studies_markup.TOML}
    assert set(wording.DONE) == set(Deed)


def test_a_long_preview_shows_the_first_lines_and_those_that_were_refused() -> None:
    lines = [ReadPrompt(number, (Message(Role.USER, f"<{number}>"),)) for number in range(1, 300)]
    lines.append(ReadPrompt(300, None, PromptError("Not a prompt.")))
    shown = read(studies_markup.preview(lines)).text
    assert "299 of 300 prompts understood. Refused and left out: 1" in shown
    assert "<100>" in shown
    assert "<101>" not in shown
    assert "Not a prompt." in shown


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (150, "2 min"), (9000, "2.5 h")])
def test_times_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words
