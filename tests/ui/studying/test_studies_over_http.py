"""The Studies page over HTTP: nothing is changed for another site's page, without its token, or on an open page."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from storage.database import open_database
from storage.records import new_id
from storage.records_studies import StudyState
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.ui.fakes import GUIDES
from tests.ui.pages import free_port, in_a_loop, made, wait_until
from tests.ui.studying.typed import typed
from tests.ui.test_commands_generating import a_plan, an_engine
from ui.components.study_form import build_form
from ui.page import Backing, build_page, open_page
from ui.settings import Settings
from ui.studies import create_study
from ui.visitors import key_hash, server_secret


@dataclass
class Maker:
    """One open Studies page."""

    url: str
    studies: SqlStudies
    session_hash: str = field(default_factory=new_id)
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with urllib.request.urlopen(f"{self.url}/config") as answer:
            dependencies = json.load(answer)["dependencies"]
        # Those of this page come last; other pages have some of the same names.
        self._events = {entry["api_name"].split("_")[0]: int(entry["id"]) for entry in dependencies}

    def call(self, name: str, *data: object, origin: str = "", session_hash: str = "") -> str:
        """What the server says to an event of the page."""
        body = {
            "data": data,
            "fn_index": self._events[name],
            "session_hash": session_hash or self.session_hash,
        }
        headers = {"Content-Type": "application/json", "Origin": origin or self.url} | self.headers
        url = f"{self.url}/gradio_api/run/predict"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return str(answer.read(), "utf-8")

    def open(self) -> None:
        """Open the page and keep its token."""
        values = json.loads(self.call("studies"))["data"]
        self.token = next((value for value in values if isinstance(value, str) and len(value) == 64), "")


@contextmanager
def serving(home: Path, **options: Any) -> Iterator[Maker]:
    settings = Settings(home=home, port=free_port(), **options)
    with open_database(settings.database_url) as database:
        studies = SqlStudies(database)
        results = SqlResults(database)
        backing = Backing(an_engine(), SqlRepository(database), settings, studies, results)
        blocks = in_a_loop(lambda: open_page(backing))
        try:
            yield Maker(f"http://127.0.0.1:{settings.port}", studies)
        finally:
            blocks.close(verbose=False)


def the_form(**changes: object) -> list[object]:
    """The form's values in the order in which the page sends them."""

    def laid_out() -> gr.Blocks:
        with gr.Blocks() as blocks:
            names.extend(build_form(GUIDES, 512).inputs)
        return blocks

    names: list[str] = []
    made(lambda *_: laid_out(), Path("nowhere"))
    values = typed(**changes)
    assert set(names) == set(values)
    return [values[name] for name in names]


def a_deed(study_id: str, deed: str) -> str:
    return json.dumps({"study": study_id, "deed": deed})


def test_only_the_page_that_was_given_the_token_makes_a_study_and_only_from_its_own_site(tmp_path: Path) -> None:
    form = the_form()
    with serving(tmp_path) as maker:
        maker.open()
        assert "not from this one" in maker.call("make", maker.token, "", *form, origin="https://evil.example")
        assert "not known to the server" in maker.call("make", "0" * 64, "", *form)
        assert "not known to the server" in maker.call("make", maker.token, "", *form, session_hash="stranger")
        assert maker.studies.studies() == ()
        assert "is made" in maker.call("make", maker.token, "", *form)
        wait_until(lambda: maker.studies.studies()[0].state is StudyState.OPEN)
        close = a_deed(maker.studies.studies()[0].id, "close")
        assert "not from this one" in maker.call("deed", maker.token, close, "", origin="https://evil.example")
        assert "not known to the server" in maker.call("deed", "0" * 64, close, "")
        assert maker.studies.studies()[0].state is StudyState.OPEN
        assert "nobody is given anything more" in maker.call("deed", maker.token, close, "")
        assert maker.studies.studies()[0].state is StudyState.CLOSED


def test_the_margin_is_shown_once_the_box_is_ticked_and_the_list_says_what_the_study_says(tmp_path: Path) -> None:
    form = the_form(publish=True, margin=0.025)
    with serving(tmp_path) as maker:
        maker.open()
        for is_ticked in (True, False):
            (shown,) = json.loads(maker.call("publish", is_ticked))["data"]
            assert shown["visible"] is is_ticked
        assert "is made" in maker.call("make", maker.token, "", *form)
        assert "more than 0.025 nats per token" in maker.call("studies")
        stop = a_deed(maker.studies.studies()[0].id, "publish-not")
        assert "not known to the server" in maker.call("deed", "0" * 64, stop, "")
        assert maker.studies.studies()[0].publish.enabled
        assert "by itself any more" in maker.call("deed", maker.token, stop, "")
        assert not maker.studies.studies()[0].publish.enabled
        assert "more than 0.025 nats per token" not in maker.call("studies")


@pytest.mark.parametrize("sent", ["", "{", "[]", '{"study": 1, "deed": "close"}', '{"study": "x", "deed": "drop"}'])
def test_a_deed_that_is_none_is_told(tmp_path: Path, sent: str) -> None:
    with serving(tmp_path) as maker:
        maker.open()
        assert "cannot be read" in maker.call("deed", maker.token, sent, "")


def test_after_an_error_no_file_is_saved_again(tmp_path: Path) -> None:
    """What was wrong with a second study once came with the TOML file of the first."""
    form, wrong = the_form(), the_form(name="")
    with serving(tmp_path) as maker:
        study = create_study(maker.studies, a_plan())
        maker.open()
        file = json.loads(maker.call("toml", maker.token, *form))["data"][0]
        assert json.loads(file)["text"]
        assert json.loads(maker.call("toml", maker.token, *wrong))["data"][0] == ""
        file = json.loads(maker.call("deed", maker.token, a_deed(study.id, "toml"), ""))["data"][-1]
        assert json.loads(file)["text"]
        assert json.loads(maker.call("deed", maker.token, a_deed("missing", "toml"), ""))["data"][-1] == ""


def test_after_an_error_neither_the_preview_nor_the_file_of_before_is_still_shown(tmp_path: Path) -> None:
    file = json.dumps({"name": "a.txt", "size": 4, "content": base64.b64encode(b"What").decode()})
    with serving(tmp_path) as maker:
        maker.open()
        note, told = json.loads(maker.call("file", maker.token, file))["data"]
        assert ("What" in note, told) == (True, "")
        note, told = json.loads(maker.call("file", maker.token, "no file"))["data"]
        assert note == ""
        assert told
        offered, _ = json.loads(maker.call("changes", maker.token, "", "csv"))["data"]
        assert offered["visible"] is True
        offered, told = json.loads(maker.call("changes", "0" * 64, "", "csv"))["data"]
        assert offered["visible"] is False
        assert told


def test_on_a_page_open_to_everybody_nothing_is_made_changed_or_told_of_changes(tmp_path: Path) -> None:
    form = the_form()
    with serving(tmp_path, host="0.0.0.0") as maker:
        study = create_study(maker.studies, a_plan())
        maker.open()
        listed = maker.call("studies")
        assert "pilot" in listed
        assert maker.token == ""
        token = key_hash(server_secret(tmp_path), f"studies-session\n{maker.session_hash}")
        for answer in (
            maker.call("make", token, "", *form),
            maker.call("check", token, *form),
            maker.call("toml", token, *form),
            maker.call("deed", token, a_deed(study.id, "write"), ""),
            maker.call("deed", token, a_deed(study.id, "toml"), ""),
            maker.call("newest", token, ""),
            maker.call("changes", token, "", "csv"),
            maker.call("file", token, ""),
        ):
            assert "Anybody can open this page" in answer
        assert [one.id for one in maker.studies.studies()] == [study.id]
        assert maker.studies.items(study.id) == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "tiller.example", "Origin": "https://tiller.example"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=203.0.113.7"},
    ],
)
def test_behind_a_proxy_on_this_machine_nothing_is_made_changed_or_told_of_changes(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    """Tiller listens at this machine alone there, and took everybody on the internet for somebody at it."""
    form = the_form()
    with serving(tmp_path) as maker:
        study = create_study(maker.studies, a_plan())
        maker.open()
        token = maker.token
        assert "<button" in maker.call("studies")
        maker.headers = headers
        maker.open()
        assert "<button" not in maker.call("studies")
        assert maker.token == ""
        for answer in (
            maker.call("make", token, "", *form),
            maker.call("deed", token, a_deed(study.id, "write"), ""),
            maker.call("newest", token, ""),
            maker.call("changes", token, "", "csv"),
        ):
            assert "Anybody can open this page" in answer
        assert [one.id for one in maker.studies.studies()] == [study.id]
        maker.headers = {}
        assert "is made" in maker.call("make", token, "", *form)  # at this machine all is as before


@pytest.mark.parametrize(
    ("options", "is_private"),
    [
        ({"host": "0.0.0.0", "access_code": "letmein"}, True),
        ({"host": "0.0.0.0"}, False),
        ({"root_path": "/tiller"}, False),
        ({"root_path": "/tiller", "access_code": "letmein"}, True),
        ({}, True),
    ],
)
def test_on_another_host_or_behind_a_proxy_only_an_access_code_makes_the_page_private(
    tmp_path: Path, options: dict[str, Any], is_private: bool
) -> None:
    settings = Settings(home=tmp_path, **options)
    with open_database(settings.database_url) as database:
        stores = SqlRepository(database), settings, SqlStudies(database), SqlResults(database)
        blocks = made(lambda _: build_page(Backing(an_engine(), *stores)), tmp_path)
    shown = {getattr(block, "elem_id", None): getattr(block, "visible", None) for block in blocks.blocks.values()}
    assert (shown["studies-new"], shown["studies-changes"]) == (is_private, is_private)
