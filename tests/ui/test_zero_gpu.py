"""Answering through ZeroGPU's worker processes, with a stand-in that forks and pickles as the package `spaces` does."""

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import app
from models.answers import Progress
from models.engine import Engine
from models.options import StepPath
from steering.errors import PromptError, SettingsError
from steering.types import FinishReason
from storage.database import open_database
from storage.sql_repository import SqlRepository
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import ScriptedEngine, say
from tests.ui.test_actions import FORM, ME, id_of, run_to_end
from ui.actions import SteerActions
from ui.forms import to_request
from ui.runs import Withdrawn
from ui.sessions import Result
from ui.settings import Settings, engine_options, parse_settings
from ui.zero_gpu import Spaces, import_spaces, on_zero_gpu

# the workers fork a process that has threads, as on ZeroGPU; what they run uses none of them
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
FORK = multiprocessing.get_context("fork")


class ForkingSpaces(ModuleType):
    """What `spaces` 0.51 does to a generator function: a forked worker, pickled values, a flag when it is closed.

    Of an error only the class is told. ``durations`` are those asked for; ``workers`` the processes that were made.
    """

    def __init__(self) -> None:
        super().__init__("spaces")
        self.durations: list[int] = []
        self.workers: list[Any] = []

    def GPU(self, task: None = None, *, duration: int) -> Callable[[Any], Any]:  # noqa: N802 - its name
        self.durations.append(duration)
        return self._decorated

    def _decorated(self, task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def call(*arguments: Any) -> Iterator[Any]:
            sent, results, stop = pickle.dumps(arguments), FORK.SimpleQueue(), FORK.Event()
            worker = FORK.Process(target=_work, args=(task, sent, results, stop), daemon=True)
            self.workers.append(worker)
            worker.start()
            try:
                while (result := results.get())[0] == "ok":
                    yield pickle.loads(result[1])
                if result[0] == "error":
                    raise RuntimeError(f"ZeroGPU worker error: {result[1]}")
            except GeneratorExit:
                stop.set()
                raise
            finally:
                worker.join(timeout=10)
                results.close()

        return call


def _work(task: Callable[..., Iterator[Any]], sent: bytes, results: Any, stop: Any) -> None:
    generator = task(*pickle.loads(sent))
    try:
        for result in generator:
            if stop.is_set():
                generator.close()  # type: ignore[attr-defined]
                break
            results.put(("ok", pickle.dumps(result)))
        results.put(("end", b""))
    except Exception as error:  # noqa: BLE001 - as spaces does
        results.put(("error", type(error).__name__))


@pytest.fixture
def spaces(monkeypatch: pytest.MonkeyPatch) -> ForkingSpaces:
    module = ForkingSpaces()
    monkeypatch.setitem(sys.modules, "spaces", module)
    return module


@pytest.fixture
def engine() -> ScriptedEngine:
    # a worker knows only what the engine could spell when it was made
    made = ScriptedEngine(script=say("a b c d e f g h i j", "a b c x y z"))
    for text in ("a b c d e f g h i j", "a b c x y z"):
        made._ids([word if index == 0 else f" {word}" for index, word in enumerate(text.split())])
    return made


@pytest.fixture
def actions(spaces: Spaces, engine: ScriptedEngine, tmp_path: Path) -> SteerActions:
    answering = on_zero_gpu(spaces, engine, time_limit_seconds=50.0)
    return SteerActions(answering, InMemoryRepository(), Settings(home=tmp_path))


def test_a_run_is_answered_in_another_process_and_kept_in_this_one(
    actions: SteerActions, spaces: ForkingSpaces, engine: ScriptedEngine
) -> None:
    result = run_to_end(actions)
    assert (result.left.text, result.right.text) == ("a b c d e f g h i j", "a b c x y z")
    assert actions.sessions.get(ME).result == result
    assert id_of(result) in actions._repository.comparisons  # type: ignore[attr-defined]
    assert engine.requests == [], "the engine here was not asked"
    assert spaces.durations == [60]
    assert len(spaces.workers) == 1


def test_an_error_in_the_worker_arrives_with_its_words(
    actions: SteerActions, spaces: ForkingSpaces, engine: ScriptedEngine
) -> None:
    engine.error = PromptError("The prompt has 2000 tokens; 800 fit.", hint="Shorten it.")
    actions.ask(ME, FORM)
    with pytest.raises(PromptError) as caught:
        list(actions.run(ME))
    assert str(caught.value) == "The prompt has 2000 tokens; 800 fit. Shorten it."
    engine.error = None
    assert run_to_end(actions).comparison is not None


def test_stopping_keeps_what_had_come_and_leaves_no_worker(
    actions: SteerActions, spaces: ForkingSpaces, engine: ScriptedEngine
) -> None:
    engine.step_seconds = 0.1
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    while not isinstance(next(reports), Result):
        pass
    actions.stop(ME)
    last = list(reports)[-1]
    assert isinstance(last, Result)
    assert last.left.finish_reason is FinishReason.STOPPED
    assert "a" in last.left.text
    assert len(last.left.token_ids) < 10
    assert [worker.is_alive() for worker in spaces.workers] == [False]


def test_stopping_while_it_waits_and_closing_leave_no_worker(
    actions: SteerActions, spaces: ForkingSpaces, engine: ScriptedEngine
) -> None:
    engine.step_seconds, engine.positions = 0.1, (1,) * 50
    for end in ("stop", "close"):
        actions.ask(ME, FORM)
        reports = actions.run(ME)
        next(reports)
        if end == "stop":
            actions.stop(ME)
            assert list(reports)[-1] == Withdrawn(timed_out=False)
        else:
            reports.close()
    assert [worker.is_alive() for worker in spaces.workers] == [False, False]


def test_what_the_real_engine_reports_can_be_sent_between_processes(
    narrow_engine: Engine, spaces: ForkingSpaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        # torch's threads do not live through a fork, so this pickles only
        return lambda *given: (pickle.loads(pickle.dumps(got)) for got in task(*pickle.loads(pickle.dumps(given))))

    monkeypatch.setattr(spaces, "_decorated", here)
    answering = on_zero_gpu(spaces, narrow_engine, 50.0)
    request = to_request(FORM, (), Settings(home=tmp_path))
    *_, last = answering.compare(request)
    *_, expected = narrow_engine.compare(request)
    assert isinstance(last, Progress)
    assert [answer.token_ids for answer in last.answers()] == [answer.token_ids for answer in expected.answers()]
    assert [answer.guide_rewards.keys() for answer in last.answers()] == [
        answer.guide_rewards.keys() for answer in expected.answers()
    ]


@pytest.mark.parametrize("value", ["1", "true"])
def test_where_spaces_says_zero_gpu_the_engine_has_no_thread_and_remembers_nothing(value: str) -> None:
    settings = parse_settings([], {"SPACES_ZERO_GPU": value})
    options = engine_options(settings)
    assert settings.zero_gpu
    assert (options.in_background, options.remembers, options.path) == (False, False, StepPath.EAGER)
    assert options.time_limit_seconds == 50
    assert not parse_settings(["--no-zero-gpu"], {"SPACES_ZERO_GPU": value}).zero_gpu


@pytest.mark.parametrize("environ", [{}, {"SPACES_ZERO_GPU": ""}, {"SPACES_ZERO_GPU": "false"}, {"SPACE_ID": "a/b"}])
def test_elsewhere_the_engine_answers_everybody_together(environ: dict[str, str]) -> None:
    given = ["--max-slots", "6", "--queue-size", "5", "--time-limit", "9.5", "--memory-fraction", "0.5"]
    options = engine_options(parse_settings(given, environ))
    assert (options.max_slots, options.max_waiting, options.time_limit_seconds) == (6, 5, 9.5)
    assert (options.memory_fraction, options.in_background, options.remembers) == (0.5, True, True)


def test_without_the_package_zero_gpu_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(SettingsError, match="needs the package spaces"):
        import_spaces()


@pytest.mark.parametrize("is_on", [True, False])
def test_the_application_imports_spaces_and_asks_for_a_gpu_only_on_zero_gpu(
    is_on: bool, spaces: ForkingSpaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    monkeypatch.setattr("ui.page.launch_page", lambda backing: launched.append(backing.engine))
    settings = Settings(home=tmp_path, zero_gpu=is_on, device="cpu", time_limit=20)
    app.serve(settings)
    assert isinstance(launched[0], Engine) is not is_on
    assert spaces.durations == ([30] if is_on else [])
    with open_database(settings.database_url) as database:
        assert SqlRepository(database).recent_judgements() == ()
