"""Pages that cannot be laid out for the guides there are: what stands is served, until they can."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import gradio as gr
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from models.answers import GuideInfo
from tests.ui.fakes import ScriptedEngine
from tests.ui.pages import in_a_loop
from tests.ui.test_layouts import WITH_WIT
from ui.layouts import FollowingGuides, Layouts


def an_unreliable_site(engine: ScriptedEngine, failures: list[Exception]) -> tuple[gr.Blocks, Layouts]:
    """Two pages with a slider per guide; laying out the second raises the failures, each once."""

    def sliders(guides: Sequence[GuideInfo]) -> None:
        with gr.Row():
            for guide in guides:
                gr.Slider(label=guide.dimension)

    def second(guides: Sequence[GuideInfo]) -> None:
        with gr.Row():
            sliders(guides)
            if failures:
                raise failures.pop()

    def build() -> None:
        with gr.Blocks() as blocks:
            layouts = Layouts(blocks, engine)
            layouts.add(sliders)
        with blocks.route("Second"):
            layouts.add(second)
        made.append((blocks, layouts))

    made: list[tuple[gr.Blocks, Layouts]] = []
    in_a_loop(build)
    return made[0]


def served_sliders(config: Any, path: str) -> list[str]:
    known = {part["id"]: part["props"] for part in config["components"] if part["type"] == "slider"}
    return [known[number]["label"] for number in config["page"][path]["components"] if number in known]


def test_where_one_page_cannot_be_laid_out_all_stay_as_they_were_and_the_next_look_lays_all_out(
    engine: ScriptedEngine,
) -> None:
    failures: list[Exception] = []
    blocks, layouts = an_unreliable_site(engine, failures)
    served, known = deepcopy(blocks.get_config_file()), set(blocks.blocks)
    failures.append(ValueError("no room"))
    engine.guides = WITH_WIT
    with pytest.raises(ValueError, match="no room"):
        layouts.follow()
    assert blocks.get_config_file() == served
    assert set(blocks.blocks) == known
    assert layouts.are_behind
    layouts.follow()
    for path in ("", "second"):
        assert served_sliders(blocks.config, path) == ["helpfulness", "harmlessness", "wit"]
    assert {part["id"] for part in blocks.config["components"]} <= set(blocks.blocks)
    assert not layouts.are_behind


def test_the_server_serves_what_stands_where_a_page_cannot_be_laid_out(
    engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[Exception] = []
    blocks, layouts = an_unreliable_site(engine, failures)
    passed_on: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed_on.append(scope["path"])
        await PlainTextResponse(",".join(served_sliders(blocks.config or blocks.get_config_file(), "")))(
            scope, receive, send
        )

    visitor = TestClient(FollowingGuides(app, layouts))
    engine.guides = WITH_WIT
    failures.append(ValueError("no room"))
    assert visitor.get("/").text == "helpfulness,harmlessness"
    assert "could not be laid out" in caplog.text
    assert "no room" in caplog.text
    assert visitor.get("/").text == "helpfulness,harmlessness,wit"
    assert passed_on == ["/", "/"]
