"""The page as it is built and served, without a browser."""

import gc
import re
import socket
import stat
import warnings
from pathlib import Path

import gradio as gr
import httpx
import pytest

from steering.errors import SettingsError
from tests.ui.fakes import GUIDES, ScriptedEngine
from tests.ui.pages import free_port, made, wait_until
from ui import theme, wording
from ui.components import markup
from ui.page import build_page, open_page
from ui.tokens import TokenRow


def test_all_runs_share_one_limit_above_what_the_engine_answers_and_lets_wait(tmp_path: Path) -> None:
    blocks = made(build_page, tmp_path, max_slots=10, queue_size=7)
    runs = [event for event in blocks.fns.values() if event.name == "run"]
    assert len(runs) >= 5
    ((concurrency_id, limit),) = {(event.concurrency_id, event.concurrency_limit) for event in runs}
    assert concurrency_id == "model"
    assert isinstance(limit, int)
    assert limit > 10 / 2 + 7


def test_there_is_a_thread_for_every_run_and_more_for_everything_else(tmp_path: Path) -> None:
    blocks = made(open_page, tmp_path, port=free_port(), max_slots=200, queue_size=300)
    try:
        limit = next(event.concurrency_limit for event in blocks.fns.values() if event.name == "run")
        assert isinstance(limit, int)
        assert blocks.max_threads >= limit + 20 > 400
        assert blocks._queue.max_size is not None
        assert blocks._queue.max_size >= limit
    finally:
        blocks.close(verbose=False)


def test_runs_that_follow_an_input_do_not_pile_up_in_the_queue(tmp_path: Path) -> None:
    blocks = made(build_page, tmp_path)
    events = list(blocks.fns.values())
    after = {event._id: event.trigger_after for event in events}
    names = {event._id: event.name for event in events}
    runs = [event for event in events if event.name == "run"]
    following = [event for event in runs if names[after[event._id]] == "follow"]
    assert len(following) >= 4
    assert {event.trigger_mode for event in following} == {"always_last"}


def test_no_event_is_offered_as_an_api(tmp_path: Path) -> None:
    served = [event for event in made(build_page, tmp_path).fns.values() if event.fn is not None]
    assert {event.api_visibility for event in served if event.name != "closed"} == {"private"}


def test_there_is_a_slider_per_guide(tmp_path: Path) -> None:
    for guides in ((), GUIDES[:1], GUIDES):
        blocks = made(build_page, tmp_path, ScriptedEngine(guides=guides))
        labels = [block.label for block in blocks.blocks.values() if isinstance(block, gr.Slider)]
        assert labels[: len(guides)] == [wording.title_of(guide.dimension) for guide in guides]


@pytest.mark.parametrize(("preset", "is_live"), [("demo", True), ("tulu2-7b", False)])
def test_the_page_is_live_on_the_embedded_model_only(tmp_path: Path, preset: str, is_live: bool) -> None:
    blocks = made(build_page, tmp_path, preset=preset)
    (live,) = (block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == "live")
    assert live.value is is_live  # type: ignore[attr-defined]


def test_building_the_page_makes_a_private_secret(tmp_path: Path) -> None:
    made(build_page, tmp_path / "home")
    (secret,) = (tmp_path / "home").iterdir()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # Gradio leaves the socket of its failed try open
            with pytest.raises(SettingsError, match=str(port)):
                made(open_page, tmp_path, port=port)
            gc.collect()


def test_gradio_forgets_a_page_that_was_closed(tmp_path: Path) -> None:
    """It kept most of a megabyte of every page ever opened."""
    port = free_port()
    blocks = made(open_page, tmp_path, port=port)
    try:
        url = f"http://127.0.0.1:{port}{httpx.get(f'http://127.0.0.1:{port}/config').json()['api_prefix']}"
        opened = next(index for index, fn in blocks.fns.items() if any(kind == "load" for _, kind in fn.targets))
        with httpx.stream("GET", f"{url}/heartbeat/some-page") as beat:
            beats = beat.iter_raw()  # dropped, it would hang up
            next(beats)
            body = {"data": [""], "fn_index": opened, "session_hash": "some-page"}
            httpx.post(f"{url}/run/predict", json=body).raise_for_status()
            assert "some-page" in blocks.state_holder
        wait_until(lambda: "some-page" not in blocks.state_holder)
    finally:
        blocks.close(verbose=False)


def test_the_style_sheet_and_script_know_every_class_the_markup_uses() -> None:
    rows = [TokenRow("a", "a", 0.5, 0.5, {}, 0.0, ()), TokenRow("", "b", 0.5, 0.5, {}, 0.0, ())]
    drawn = markup.coloured_answer(rows, "wit", 1) + markup.legend("wit") + markup.metrics(None, ["wit"])
    used = {name for names in re.findall(r'class="([^"]+)"', drawn) for name in names.split()}
    looks = theme.style_sheet() + theme.head()
    assert {name for name in used if f".{name}" not in looks} == set()


def test_the_script_gets_its_words_as_data() -> None:
    assert set(wording.PANE_REGION.values()) <= set(re.findall(r'"([^"]+)"', theme.head()))
