"""A guide for a dimension that had none: pages opened afterwards have its slider, those opened before go on."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from storage.database import open_database
from storage.records import new_id
from storage.sql_repository import SqlRepository
from storage.sql_results import SqlResults
from storage.sql_studies import SqlStudies
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import GUIDES, ScriptedEngine
from tests.ui.pages import free_port, in_a_loop
from ui import wording
from ui import wording_studies as words
from ui.page import Backing, Site, build_site, open_page
from ui.settings import Settings
from ui.visitors import new_browser_token

WIT = replace(GUIDES[0], id="guide-c", dimension="wit", unit=1.5, sha256="c" * 64)
WITH_WIT = (*GUIDES, WIT)


@pytest.fixture
def site(engine: ScriptedEngine, repository: InMemoryRepository, tmp_path: Path) -> Site:
    return built(Backing(engine, repository, Settings(home=tmp_path)))


def built(backing: Backing) -> Site:
    sites: list[Site] = []

    def build() -> gr.Blocks:
        sites.append(build_site(backing))
        return sites[0].blocks

    in_a_loop(build)
    return sites[0]


class Tab:
    """A page that was served, and knows no more than that: what is in it, by element id or label."""

    def __init__(self, site: Site, query: str = "", path: str = "") -> None:
        site.layouts.follow()  # as a server does before it serves a page
        self.config: Any = deepcopy(site.blocks.config)
        self._blocks = site.blocks
        page = set(self.config["page"][path]["components"])
        self._parts = {part["id"]: part["props"] for part in self.config["components"] if part["id"] in page}
        self.ids = {str(props.get("elem_id") or props.get("label")): number for number, props in self._parts.items()}
        self.values = {number: props.get("value") for number, props in self._parts.items()}
        self._request = gr.Request(session_hash=new_id(), headers={}, query_params={"c": query} if query else {})
        self.token = new_browser_token()
        if not path:
            self.send("opened", self.token)

    def __getitem__(self, name: str) -> Any:
        return self.values[self.ids[name]]

    def __setitem__(self, name: str, value: Any) -> None:
        self.values[self.ids[name]] = value

    def props(self, name: str) -> dict[str, Any]:
        return self._parts[self.ids[name]]

    @property
    def weights(self) -> dict[str, float]:
        sliders = {number: props for number, props in self._parts.items() if "weight" in props.get("elem_classes", [])}
        return {props["label"]: self.values[number] for number, props in sliders.items()}

    def send(self, name: str, *values: object, nth: int = 0) -> dict[str, Any]:
        """Send an event of that name, the first unless said, and draw what the server says; which is returned."""
        event = [event for event in self.config["dependencies"] if _name(event) == name][nth]
        handler = self._blocks.fns[event["id"]].fn
        assert handler is not None
        request = [self._request] if "request" in signature(handler).parameters else []
        answer = handler(*request, *(values or [self.values[number] for number in event["inputs"]]))
        if not isinstance(answer, dict):  # a run, which streams values alone
            *_, last = answer
            answer = dict(zip((self._blocks.blocks[number] for number in event["outputs"]), last, strict=True))
        said = {}
        for part, value in answer.items():
            assert part._id in event["outputs"], "a page draws only what it was laid out with"
            if not isinstance(value, dict):
                self.values[part._id] = value
            elif "value" in value:
                self.values[part._id] = value["value"]
            said[str(part.elem_id or getattr(part, "label", None))] = value
        return said

    def run(self) -> str:
        """Press Run and wait for the end; what is complained about."""
        self["prompt"] = "Say something."
        self.send("ask")
        self.send("run")
        self.send("settle")
        return str(self["message"])


def _name(event: dict[str, Any]) -> str:
    return str(event["api_name"]).rstrip("_0123456789")


def test_a_page_opened_after_a_new_guide_has_its_slider_at_0_and_all_else_of_it(
    site: Site, engine: ScriptedEngine
) -> None:
    before = Tab(site)
    assert before.weights == {"Helpfulness": 1.0, "Harmlessness": 1.0}
    engine.guides = WITH_WIT
    tab = Tab(site)
    assert tab.weights == {"Helpfulness": 1.0, "Harmlessness": 1.0, "Wit": 0.0}
    assert tab.props("judge-3")["label"] == "Wit"
    assert ["Wit", "wit"] in [list(choice) for choice in tab.props("colour")["choices"]]
    assert wording.preset_of("wit") in [value for _, value in tab.props("blend-preset")["choices"]]
    assert "guide-c" in tab["title"]
    assert "Wit" in tab["metrics-right"]
    assert len(tab.ids) == len(before.ids) + 2, "a slider and a row of choices, and nothing twice"


def test_the_new_slider_is_asked_for_when_it_is_moved(
    site: Site, engine: ScriptedEngine, repository: InMemoryRepository
) -> None:
    engine.guides = WITH_WIT
    tab = Tab(site)
    assert tab.run() == ""
    assert engine.requests[-1].blends[1].weights == {"helpfulness": 1.0, "harmlessness": 1.0}
    tab["Wit"] = 2.5
    assert tab.run() == ""
    assert engine.requests[-1].blends[1].weights["wit"] == 2.5
    assert repository.get_comparison(tab["comparison-id"]).right.exponents["wit"] == 2.5 * 1.5


def test_a_page_opened_before_goes_on_with_the_sliders_it_has(
    site: Site, engine: ScriptedEngine, repository: InMemoryRepository
) -> None:
    tab = Tab(site)
    engine.guides = WITH_WIT
    newer = Tab(site)
    newer["Wit"] = 2.0
    newer.run()
    tab["Helpfulness"], tab["Harmlessness"] = 2.0, 0.0
    assert tab.run() == ""
    assert engine.requests[-1].blends[1].weights == {"helpfulness": 2.0}
    comparison_id = tab["comparison-id"]
    assert repository.get_comparison(comparison_id).right.exponents["wit"] == 0.0
    assert tab.send("follow")["blend-preset"] == wording.preset_of("helpfulness")
    tab.send("start_from", wording.preset_of("harmlessness"))
    assert tab.weights == {"Helpfulness": 0.0, "Harmlessness": 2.0}
    tab.send("judged", tab.token, comparison_id, "left", nth=2)
    assert [judgement.dimension for judgement in repository.recent_judgements()] == ["harmlessness"]
    linked = Tab(site, comparison_id)
    assert linked.weights == {"Helpfulness": 2.0, "Harmlessness": 0.0, "Wit": 0.0}


def test_where_a_guide_is_gone_new_pages_have_no_slider_for_it_and_older_ones_are_told_when_they_use_it(
    site: Site, engine: ScriptedEngine, repository: InMemoryRepository
) -> None:
    first = Tab(site)
    engine.guides = WITH_WIT
    tab = Tab(site)
    tab["Wit"] = 1.0
    tab.run()
    comparison_id = tab["comparison-id"]
    engine.guides = GUIDES
    again = Tab(site)
    assert again.config == first.config
    tab.send("judged", tab.token, comparison_id, "right", nth=3)
    assert [judgement.dimension for judgement in repository.recent_judgements()] == ["wit"], "it did write that answer"
    assert "There is no guide for &#x27;wit&#x27;" in tab.run()
    tab["Wit"] = 0.0
    assert tab.run() == ""
    tab.send("show_tokens", "wit", True)
    linked = Tab(site, comparison_id)
    assert linked.weights == {"Helpfulness": 1.0, "Harmlessness": 1.0}


def test_the_studies_page_asks_for_the_new_guides_weights_and_an_older_one_for_those_it_has(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    with open_database(settings.database_url) as database:
        backing = Backing(engine, SqlRepository(database), settings, SqlStudies(database), SqlResults(database))
        site = built(backing)
        older = Tab(site, path="studies")
        engine.guides = WITH_WIT
        newer = Tab(site, path="studies")
        for tab, last in ((older, "Harmlessness"), (newer, "Wit")):
            tab.send("studies_opened")
            tab["study-name"], tab["study-pasted"] = "Which is kinder?", "How are you?"
            tab[words.BLEND_WEIGHT.format(dimension=last, number=2)] = 3
            told = tab.send("toml")
            assert told.pop("studies-told") == ""
            (file,) = told.values()
            assert f"{last.lower()} = 3" in file
            assert ("wit" in file) == (tab is newer)


def test_guides_that_come_again_find_the_layout_they_had(site: Site, engine: ScriptedEngine) -> None:
    engine.guides = WITH_WIT
    first = Tab(site)
    n_events = len(site.blocks.fns)
    for guides in (GUIDES, WITH_WIT) * 3:
        engine.guides = guides
        site.layouts.follow()
    assert site.blocks.config == first.config
    assert len(site.blocks.fns) == n_events


def test_another_version_of_a_guide_changes_no_page(site: Site, engine: ScriptedEngine) -> None:
    served = site.blocks.config
    engine.guides = (replace(GUIDES[0], version=2, sha256="d" * 64), GUIDES[1])
    assert not site.layouts.are_behind
    site.layouts.follow()
    assert site.blocks.config is served


def test_a_page_opened_after_another_version_tells_exponents_by_its_unit(site: Site, engine: ScriptedEngine) -> None:
    before = Tab(site)
    engine.guides = (replace(GUIDES[0], version=2, unit=3.25), GUIDES[1])
    tab = Tab(site)
    assert "exponent 0.50 (unit 0.5)" in str(list(before.values.values()))
    assert "exponent 3.25 (unit 3.25)" in str(list(tab.values.values()))
    assert "exponent 2.00 (unit 2)" in str(list(tab.values.values()))
    before.send("start_from", wording.preset_of("helpfulness"))
    assert "exponent 6.50 (unit 3.25)" in str(list(before.values.values()))


def test_a_page_opened_after_another_version_names_it_in_its_title(site: Site, engine: ScriptedEngine) -> None:
    before = Tab(site)
    engine.guides = (replace(GUIDES[0], id="guide-a-2", version=2, sha256="d" * 64), GUIDES[1])
    tab = Tab(site)
    assert "guides: guide-a, guide-b<" in before["title"]
    assert "guides: guide-a-2, guide-b<" in tab["title"]
    assert "<h1>Tiller</h1>" in tab["title"]


def test_pages_opened_in_one_instant_are_laid_out_once(site: Site, engine: ScriptedEngine) -> None:
    n_events = len(site.blocks.fns)
    engine.guides = WITH_WIT
    with ThreadPoolExecutor(8) as visitors:
        list(visitors.map(lambda _: site.layouts.follow(), range(8)))
    assert len(site.blocks.fns) < 2.5 * n_events
    assert Tab(site).weights["Wit"] == 0.0


def test_the_server_looks_at_the_guides_before_it_serves_a_page(engine: ScriptedEngine, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, port=free_port())
    blocks = in_a_loop(lambda: open_page(Backing(engine, InMemoryRepository(), settings)))
    try:
        url = f"http://127.0.0.1:{settings.port}"
        slider = '"label":"Wit"'
        assert slider not in httpx.get(url).text
        engine.guides = WITH_WIT
        assert slider in httpx.get(url).text
        engine.guides = GUIDES
        assert slider not in httpx.get(url).text
    finally:
        blocks.close(verbose=False)


def test_a_session_describes_what_is_served_and_what_an_older_page_changes(
    engine: ScriptedEngine, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, port=free_port())
    blocks = in_a_loop(lambda: open_page(Backing(engine, InMemoryRepository(), settings)))
    try:
        url = f"http://127.0.0.1:{settings.port}"
        older = httpx.get(f"{url}/config").json()
        for dimension in ("wit", "warmth", "haste"):
            engine.guides = (*GUIDES, replace(WIT, dimension=dimension))
            newer = httpx.get(f"{url}/config").json()
        described = [part["id"] for part in newer["components"]]
        assert set(blocks.state_holder["new"].config_values) == set(described)
        assert blocks.state_holder["new"].blocks_config.blocks.keys() == blocks.blocks.keys()
        opened = next(event["id"] for event in older["dependencies"] if _name(event) == "opened")
        body = {"data": [""], "fn_index": opened, "session_hash": "old"}
        answer = httpx.post(f"{url}{older['api_prefix']}/run/predict", json=body).raise_for_status()
        assert "<h1>Tiller</h1>" in str(answer.json()["data"])
        title = next(part["id"] for part in older["components"] if part["props"].get("elem_id") == "title")
        assert title not in described
        assert "<h1>Tiller</h1>" in str(blocks.state_holder["old"].config_values[title])
    finally:
        blocks.close(verbose=False)
