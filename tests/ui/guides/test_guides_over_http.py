"""The Guides page over HTTP: nothing is changed for another site's page, without its token, or on an open page."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.options import EngineOptions
from models.presets import load_preset
from models.versions.publishing import GuideVersions
from models.versions.starting import load_published
from storage.database import open_database
from storage.records import new_id
from storage.records_publishing import Publishing
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.models.tiny import save_lora, save_model
from tests.ui.guides.test_asking import FORM
from tests.ui.pages import free_port, made
from tests.ui.results.simulated import a_judged_study
from ui.page import Backing, open_page
from ui.settings import Settings

# in the order in which the page sends them
FIELDS = ("question", "dimension", "study", "without", "since", "until", "further", "reliability", "agreement",
          "annotator_cap", "prompt_cap", "held_out")  # fmt: skip
ASKED = [(FORM | {"question": "wit", "study": "", "without": [], "since": ""})[name] for name in FIELDS]
NOTHING_PICKED = [None, *ASKED[1:]]


@dataclass
class Visitor:
    """One open Guides page."""

    url: str
    versions: GuideVersions
    home: Path
    session_hash: str = field(default_factory=new_id)
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with urllib.request.urlopen(f"{self.url}/config") as answer:
            dependencies = json.load(answer)["dependencies"]
        # Those of this page come last; other pages have some of the same names.
        self._events = {entry["api_name"].rstrip("_0123456789"): int(entry["id"]) for entry in dependencies}

    def call(self, name: str, *data: object, origin: str = "", session_hash: str = "") -> str:
        """What the server says to an event of the page."""
        body = {"data": data, "fn_index": self._events[name], "session_hash": session_hash or self.session_hash}
        headers = {"Content-Type": "application/json", "Origin": origin or self.url} | self.headers
        url = f"{self.url}/gradio_api/run/predict"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return str(answer.read(), "utf-8")

    def open(self) -> str:
        """Open the page and keep its token; what the server sent."""
        text = self.call("guides_opened")
        values = json.loads(text)["data"]
        self.token = next((value for value in values if isinstance(value, str) and len(value) == 64), "")
        return text


@contextmanager
def serving(home: Path, **options: Any) -> Iterator[Visitor]:
    """A tiny base with a guide for wit, version 0, and another version of it, 1."""
    base = save_model(home / "base", "llama", seed=1)
    save_lora(home / "wit", base, seed=2)
    save_lora(home / "wittier", base, seed=5)
    config = home / "tiny.toml"
    config.write_text(
        f'[base]\nid = "{home / "base"}"\n[[guides]]\nid = "{home / "wit"}"\ndimension = "wit"\n', encoding="utf-8"
    )
    settings = Settings(home=home, port=free_port(), config=config, **options)
    engine = EngineOptions(memory_fraction=0.05)
    versions = load_published(load_preset(None, config), home, device="cpu", dtype="float32", options=engine)
    versions.add(str(home / "wittier"), "wit")
    with open_database(settings.database_url) as database:
        stores = SqlStudies(database), SqlResults(database)
        repository = SqlRepository(database)
        blocks = made(lambda _: open_page(Backing(versions.engine, repository, settings, *stores, versions)), home)
        yield Visitor(f"http://127.0.0.1:{settings.port}", versions, home)
        blocks.close(verbose=False)
        versions.engine.close()


def test_only_the_page_that_was_given_the_token_publishes_and_only_from_its_own_site(tmp_path: Path) -> None:
    with serving(tmp_path) as visitor:
        assert "Versions of Wit" in visitor.open()
        one = "wit/1"
        assert "not from this one" in visitor.call("publish", visitor.token, one, origin="https://evil.example")
        assert "not known to the server" in visitor.call("publish", "0" * 64, one)
        visitor.call("guides_opened", session_hash="stranger")
        assert "not known to the server" in visitor.call("publish", visitor.token, one, session_hash="stranger")
        assert "No version is picked" in visitor.call("publish", visitor.token, None)
        assert visitor.versions.history() == ()
        assert "was not compared" in visitor.call("picked", visitor.token, one)
        assert "wit version 1 answers from now on" in visitor.call("publish", visitor.token, one)
        assert visitor.versions.answering("wit") == 1
        assert "is the one that answers" in visitor.call("picked", visitor.token, one)
        assert "not known to the server" in visitor.call("roll_back", "0" * 64, one)
        assert visitor.versions.answering("wit") == 1
        assert "Rolled back: wit version 0 answers again" in visitor.call("roll_back", visitor.token, one)
        assert "No other guide" in visitor.call("roll_back", visitor.token, one)
        assert [activation.why for activation in visitor.versions.history()] == ["published", "rolled back"]


def test_behind_a_proxy_on_this_machine_nothing_is_published(tmp_path: Path) -> None:
    """Tiller listens at this machine alone there, and took everybody on the internet for somebody at it."""
    with serving(tmp_path) as visitor:
        visitor.open()
        token = visitor.token
        visitor.headers = {"X-Forwarded-For": "203.0.113.7"}
        assert "Versions of Wit" in visitor.open()
        assert visitor.token == ""
        assert "Anybody can open this page" in visitor.call("publish", token, "wit/1")
        assert "wit/0" in visitor.call("tick", "")
        assert visitor.versions.history() == ()


def test_what_was_published_on_the_command_line_is_taken_in(tmp_path: Path) -> None:
    with serving(tmp_path) as visitor:
        visitor.open()
        assert "Nothing else was published" in visitor.call("look_again", visitor.token)
        visitor.versions.registry.activate("wit", 1)  # as `guides publish` does
        assert "does not answer yet: press “Look again”" in visitor.call("guides_opened")
        assert "not known to the server" in visitor.call("look_again", "0" * 64)
        assert visitor.versions.answering("wit") is None  # the preset's has no number
        taken_in = visitor.call("look_again", visitor.token)
        assert "answering now: wit version 1" in taken_in
        assert "Version 1 answers." in taken_in
        assert "does not answer yet" not in taken_in
        assert visitor.versions.answering("wit") == 1


def test_a_page_that_looks_while_nothing_is_under_way_any_more_is_told_the_versions(tmp_path: Path) -> None:
    with serving(tmp_path) as visitor:
        visitor.open()
        looked = visitor.call("tick", "")
        assert "went wrong" not in looked
        assert "wit/1" in looked
        timers = [value for value in json.loads(looked)["data"] if isinstance(value, dict) and "active" in value]
        assert [timer["active"] for timer in timers] == [False]


def test_two_versions_are_compared_by_their_cards(tmp_path: Path) -> None:
    with serving(tmp_path) as visitor:
        visitor.open()
        assert "wit version 1 and wit version 0" in visitor.call("compare", visitor.token, "wit/1", "wit/0")
        assert "Pick two different versions" in visitor.call("compare", visitor.token, "wit/1", "wit/1")


def test_a_retraining_is_refused_without_the_token_and_without_judgements(tmp_path: Path) -> None:
    with serving(tmp_path) as visitor:
        visitor.open()
        for event in ("check", "start"):
            assert "not known to the server" in visitor.call(event, "0" * 64, *ASKED)
            assert "0 preferences are left to train on" in visitor.call(event, visitor.token, *ASKED)
        assert "no training that can go on" in visitor.call("go_on", visitor.token)
        assert "not known to the server" in visitor.call("cancel", "0" * 64)
        assert not any((visitor.home / "training").iterdir())


def test_the_page_says_whether_a_training_is_published_by_itself_and_says_it_anew_for_other_judgements(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as visitor, open_database(f"sqlite:///{tmp_path}/tiller.db") as database:
        studies, asked = SqlStudies(database), dict(zip(FIELDS, ASKED, strict=True))
        study = a_judged_study(SqlRepository(database), studies, 9, publish=Publishing(enabled=True, margin=0.025))
        name = studies.study(study).name

        def said(**changes: object) -> str:
            return visitor.call("sources_changed", visitor.token, *(asked | changes).values())

        assert "there are no such judgements yet" in visitor.open()  # nobody was asked about wit
        assert "not known to the server" in visitor.call("sources_changed", "0" * 64, *ASKED)
        overall = {"question": "overall", "dimension": "wit"}
        told = said(**overall)
        assert name in told
        assert "publishes a better guide by itself" in told
        assert "loses more than 0.025 nats" in told
        assert "publishes a better guide by itself" in said(**overall, study=study)
        assert "Nothing is published by itself" in said(**overall, until="2001-01-01")
        assert "no such judgements" in said(**overall, study="steer")
        assert "publish" not in said(question="overall", dimension="")  # no guide can be called so
        studies.set_publishing(study, Publishing())
        assert "does not ask for it" in said(**overall)
        other = a_judged_study(SqlRepository(database), studies, 9, publish=Publishing(enabled=True))
        assert "does not ask for it" in said(**overall)
        visitor.open()  # for the list of studies
        assert "publishes a better guide by itself" in said(**overall, study=other)


def test_a_page_that_anybody_can_open_shows_the_guides_and_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, host="0.0.0.0") as visitor:
        opened = visitor.open()
        assert visitor.token == ""
        assert "Versions of Wit" in opened
        for event, *data in (
            ("publish", None),
            ("roll_back", None),
            ("start", *NOTHING_PICKED),
            ("check", *NOTHING_PICKED),
            ("go_on",),
            ("cancel",),
        ):
            assert "Anybody can open this page" in visitor.call(event, "", *data)
        assert visitor.versions.history() == ()
