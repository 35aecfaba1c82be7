"""The handlers of the Judge page, over the in-memory store."""

from pathlib import Path

import gradio as gr
import pytest

from tests.storage.fakes import InMemoryRepository
from tests.storage.study_fakes import InMemoryStudies
from tests.ui.judge.serving import a_study
from tests.ui.pages import made
from ui import wording_judge as wording
from ui.components.judge import build_judge
from ui.judge.actions import JudgeActions
from ui.judge.handlers import JudgeHandlers


@pytest.fixture
def studies() -> InMemoryStudies:
    return InMemoryStudies(InMemoryRepository())


@pytest.fixture
def handlers(studies: InMemoryStudies, tmp_path: Path) -> JudgeHandlers:
    pages = []

    def laid_out(*_: object) -> gr.Blocks:
        with gr.Blocks() as blocks:
            pages.append(build_judge())
        return blocks

    made(laid_out, tmp_path)
    return JudgeHandlers(pages[0], JudgeActions(studies.repository, studies, tmp_path))


def test_who_agreed_to_one_studys_text_has_not_agreed_to_that_of_the_study_picked_since(
    handlers: JudgeHandlers, studies: InMemoryStudies
) -> None:
    """The box stays ticked until the server has sent the other text: Start within that time agreed to it unread."""
    page, request = handlers.page, gr.Request(session_hash="one page", headers={}, query_params={})
    one, other = (a_study(studies, 1, consent=f"Text {number}.") for number in (1, 2))
    token = handlers.opened(request, None, None)[page.token]
    told = handlers.pick(one)[page.told]
    refused = handlers.start(request, token, other, "Ada", True, told)
    assert wording.NEEDS_CONSENT in refused[page.message]
    (ada,) = studies.repository.annotators.values()
    assert not studies.has_consented(other, ada.id)
    picked = handlers.pick(other)
    assert "Text 2." in picked[page.consent]["value"]
    assert handlers.start(request, token, other, "Ada", True, picked[page.told])[page.desk]["visible"]
