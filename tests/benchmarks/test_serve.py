"""Visitors over HTTP against the real page with a scripted engine, and the probe against a real engine."""

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import serve
from benchmarks.probe import reading
from benchmarks.serve import Log, Traffic, visit
from benchmarks.shapes import make_parts
from benchmarks.visitors import Outcome, read_site
from models.answers import ComparisonRequest
from models.assembly import assemble
from models.options import EngineOptions
from steering.errors import BusyError, InputError
from steering.types import Blend, Message, Role, SamplingSettings
from storage.database import open_database
from storage.sql_repository import SqlRepository
from tests.benchmarks.conftest import TINY
from tests.benchmarks.test_shapes import CPU
from tests.ui.fakes import ScriptedEngine, say
from tests.ui.pages import apart
from ui.page import Backing, open_page
from ui.settings import Settings

SHORT = say("one two three", "one four five six")
LONG = say("one two three " * 60, "one four five " * 60)
Visited = Callable[..., Log]

# Gradio 6.31 sums up its own events with words of pandas that pandas 3 deprecates; it is their code and their thread.
pytestmark = pytest.mark.filterwarnings("ignore:.*no_silent_downcasting.*", "ignore:The copy keyword is deprecated.*")


@pytest.fixture
def visited(tmp_path: Path) -> Visited:
    """Serve the page with an engine and let visitors come; the engine is spoken to after the first of all visits."""

    async def go(engine: ScriptedEngine, traffic: Traffic) -> Log:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            settings = Settings(home=tmp_path, port=free.getsockname()[1])
        with open_database(settings.database_url) as database:
            # inside a running loop Gradio makes no loop of its own, which it would never close
            blocks = open_page(Backing(engine, SqlRepository(database), settings))
            try:
                return await visit(f"http://127.0.0.1:{settings.port}", traffic)
            finally:
                await asyncio.to_thread(blocks.close, verbose=False)

    return lambda engine, traffic: apart(lambda: asyncio.run(go(engine, traffic)))


def first_short_then_long(engine: ScriptedEngine) -> None:
    """The visit that comes before all that counts is short."""
    engine.script = lambda request: (SHORT if len(engine.requests) == 1 else LONG)(request)


def outcomes(log: Log) -> list[Outcome]:
    return [done.outcome for done in log.visits]


def test_visitors_send_their_own_weights_and_prompts_and_are_answered(visited: Visited) -> None:
    engine = ScriptedEngine(SHORT)
    log = visited(engine, Traffic(2, 2, 0.0, 0.0, 17, seed=3))
    assert outcomes(log) == [Outcome.ANSWERED] * 4
    assert all(0 < done.first_seconds <= done.whole_seconds for done in log.visits)
    assert len({request.messages[-1].content for request in engine.requests[1:]}) == 4
    assert {request.sampling.max_new_tokens for request in engine.requests} == {17}
    assert len({tuple(request.blends[1].weights.values()) for request in engine.requests}) > 1
    assert len(set(engine.owners)) == 3  # two visitors, and the one who came before all that counts


def test_a_stopped_run_is_read_to_its_early_end(visited: Visited) -> None:
    engine = ScriptedEngine(step_seconds=0.05)  # a long answer takes 9 seconds
    first_short_then_long(engine)
    log = visited(engine, Traffic(3, 1, 1.0, 0.0, 200, seed=1))
    assert outcomes(log) == [Outcome.STOPPED] * 3
    assert all(done.stop_seconds < 4 for done in log.visits)
    assert engine.running == 0


def test_a_dropped_run_is_closed_in_the_engine(visited: Visited) -> None:
    engine = ScriptedEngine(step_seconds=0.05)
    first_short_then_long(engine)
    log = visited(engine, Traffic(2, 2, 0.0, 1.0, 200, seed=1))
    assert outcomes(log) == [Outcome.DROPPED] * 4
    deadline = time.monotonic() + 5
    while engine.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine.running == 0
    assert engine.closed == len(engine.requests) - 1  # none was decoded to its end but the first


def test_refusals_are_counted_with_what_was_said(visited: Visited) -> None:
    engine = ScriptedEngine(error=BusyError("9 requests are waiting already.", hint="Try again."))
    log = visited(engine, Traffic(2, 1, 0.0, 0.0, 8, seed=0))
    assert outcomes(log) == [Outcome.REFUSED] * 2
    report = serve.summarise(log, Traffic(2, 1, 0.0, 0.0, 8, 0))
    assert report["seconds_to"]["refusal"]["n"] == 2
    (words,) = report["words"]
    assert "9 requests are waiting already." in words


def test_an_answer_that_breaks_off_is_a_failure(visited: Visited) -> None:
    engine = ScriptedEngine(LONG, step_seconds=0.1, late_error=RuntimeError("broken"))
    log = visited(engine, Traffic(1, 1, 0.0, 0.0, 200, seed=0))
    assert outcomes(log) == [Outcome.FAILED]
    assert not serve.summarise(log, Traffic(1, 1, 0.0, 0.0, 8, 0))["is_clean"]


def test_another_page_is_refused() -> None:
    with pytest.raises(InputError, match="not Tiller"):
        read_site({"components": [], "dependencies": [], "api_prefix": "/gradio_api"})


def test_the_probe_sees_slots_that_are_held() -> None:
    engine = assemble(make_parts("tiny", TINY, CPU, 1), EngineOptions(in_background=False))
    before = reading()["n_slots"]
    request = ComparisonRequest(
        (Message(Role.USER, "How?"),), (Blend(), Blend({"dimension 0": 1.0})), SamplingSettings(max_new_tokens=50)
    )
    answers = engine.compare(request)
    while not next(answers).n_tokens:
        pass
    assert reading()["n_slots"] == before + 2
    answers.close()
    assert reading()["n_slots"] == before


@pytest.mark.parametrize("arguments", [["--visitors", "0"], ["--stop", "1.5"]])
def test_a_bad_option_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        serve.main(arguments)
    assert ended.value.code == 2


def test_shares_above_one_and_pages_that_are_not_there_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--stop", "0.6", "--drop", "0.6"]) == 2
    assert apart(lambda: serve.main(["--url", "http://127.0.0.1:9"])) == 1
    assert "There is no page" in capsys.readouterr().err
