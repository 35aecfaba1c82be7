"""The actions of the Steer page, over a scripted engine and the in-memory store."""

import itertools
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from steering.errors import BusyError, InputError, NotFoundError, PromptError, StorageError
from steering.types import Choice, FinishReason, Message, Role, Side
from storage.records import OVERALL, Annotator, Comparison, ComparisonKind, Judgement, JudgementInput, utc_now
from tests.storage.fakes import InMemoryRepository
from tests.ui.fakes import BASE, ScriptedEngine, say
from ui.actions import SteerActions, Stopped, judged
from ui.forms import SteerForm
from ui.sessions import Result
from ui.settings import Settings
from ui.visitors import new_browser_token

FORM = SteerForm(
    prompt="Say something.",
    weights={"helpfulness": 2.0, "harmlessness": 0.0},
    temperature=0.7,
    top_p=0.95,
    top_k=0,
    min_p=0.0,
    max_new_tokens=50,
    seed="7",
    n_before=0,
    base_exponent=1.0,
)
NEXT_FORM = replace(FORM, prompt="And then?", n_before=2)  # a turn later
ME = "me"
TOKEN = new_browser_token()


class FailingRepository(InMemoryRepository):
    """A store whose disk is full while ``fails`` is set."""

    fails: bool = False

    def save_comparison(self, comparison: Comparison) -> None:
        self._check()
        super().save_comparison(comparison)

    def record_judgement(self, judgement: JudgementInput) -> Judgement:
        self._check()
        return super().record_judgement(judgement)

    def annotator(self, key_hash: str, display_name: str = "") -> Annotator:
        self._check()
        return super().annotator(key_hash, display_name)

    def _check(self) -> None:
        if self.fails:
            raise StorageError("The disk is full.", hint="Make room.")


@pytest.fixture
def repository() -> FailingRepository:
    return FailingRepository()


@pytest.fixture
def actions(engine: ScriptedEngine, repository: FailingRepository, tmp_path: Path) -> SteerActions:
    return SteerActions(engine, repository, Settings(home=tmp_path))


def run_to_end(actions: SteerActions, form: SteerForm = FORM, session_id: str = ME) -> Result:
    actions.ask(session_id, form)
    last = list(actions.run(session_id))[-1]
    assert isinstance(last, Result)
    return last


def id_of(result: Result | None) -> str:
    assert result is not None
    assert result.comparison is not None
    return result.comparison.id


def judge(actions: SteerActions, result: Result, choice: Choice | str, dimension: str = OVERALL) -> None:
    actions.judge(ME, TOKEN, id_of(result), dimension, choice)


def test_a_finished_run_is_stored_with_the_unguided_answer_on_the_left(
    actions: SteerActions, repository: FailingRepository
) -> None:
    result = run_to_end(actions)
    comparison = repository.get_comparison(id_of(result))
    assert comparison.left.blend.is_unguided
    assert comparison.right.blend.weights == {"helpfulness": 2.0}
    assert comparison.right.exponents == {"helpfulness": 1.0, "harmlessness": 0.0}
    assert (comparison.left.text, comparison.right.text) == ("one two three", "one four five six")
    assert comparison.left.messages == comparison.right.messages == (Message(Role.USER, "Say something."),)
    assert comparison.sides_known
    assert comparison.right.sampling.seed == 7
    assert comparison.right.kl_per_token == pytest.approx(0.125)
    assert comparison.right.guide_rewards == {"helpfulness": -1.0, "harmlessness": -2.0}


def test_a_run_without_a_request_does_nothing(actions: SteerActions, engine: ScriptedEngine) -> None:
    assert list(actions.run(ME)) == []
    assert engine.requests == []


def test_a_newer_request_ends_the_older_run_within_a_step_and_only_the_newer_is_stored(
    actions: SteerActions, engine: ScriptedEngine, repository: FailingRepository
) -> None:
    engine.step_seconds = 0.01
    actions.ask(ME, FORM)
    older = actions.run(ME)
    assert next(older) is not None
    actions.ask(ME, replace(FORM, weights={"helpfulness": 3.0, "harmlessness": 0.0}))
    assert list(older) == []
    assert engine.closed == 1
    result = list(actions.run(ME))[-1]
    assert isinstance(result, Result)
    assert list(repository.comparisons) == [id_of(result)]
    assert repository.get_comparison(id_of(result)).right.blend.weights == {"helpfulness": 3.0}


def test_events_that_arrive_late_cannot_bring_an_older_request_back(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    for weight in (1.0, 2.0, 3.0):
        actions.ask(ME, replace(FORM, weights={"helpfulness": weight, "harmlessness": 0.0}))
    runs = [list(actions.run(ME)) for _ in range(3)]
    assert [bool(run) for run in runs] == [True, False, False]
    assert [request.blends[1].weights for request in engine.requests] == [{"helpfulness": 3.0}]


def test_a_page_that_follows_does_not_ask_the_same_twice(actions: SteerActions) -> None:
    assert actions.follow(ME, FORM)
    assert not actions.follow(ME, FORM)
    assert actions.follow(ME, replace(FORM, seed="8"))
    assert actions.follow(ME, FORM)


def test_following_with_nothing_new_is_no_refusal_where_the_engine_is_full(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    run_to_end(actions)
    engine.most_coming = 0
    assert not actions.follow(ME, FORM)
    with pytest.raises(BusyError):
        actions.follow(ME, replace(FORM, seed="8"))


def test_a_page_that_follows_asks_again_for_what_failed_or_was_withdrawn(
    actions: SteerActions, engine: ScriptedEngine
) -> None:
    engine.error = PromptError("The prompt has 2000 tokens; 800 fit.")
    assert actions.follow(ME, FORM)
    with pytest.raises(PromptError):
        list(actions.run(ME))
    engine.error = None
    assert actions.follow(ME, FORM)
    assert actions.stop(ME) is Stopped.WAITING
    assert actions.follow(ME, FORM)
    reports = actions.run(ME)
    next(reports)
    reports.close()
    assert actions.follow(ME, FORM)


def test_stopping_keeps_and_stores_what_is_written(
    actions: SteerActions, engine: ScriptedEngine, repository: FailingRepository
) -> None:
    engine.script = say("a b c d e f g h", "a b c d e f g h i j")
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    next(reports)
    assert actions.stop(ME) is Stopped.WRITING
    result = list(reports)[-1]
    assert isinstance(result, Result)
    comparison = repository.get_comparison(id_of(result))
    assert comparison.left.finish_reason is FinishReason.STOPPED
    assert comparison.left.text == "a b"


def test_stopping_before_the_run_has_begun_drops_it(actions: SteerActions, engine: ScriptedEngine) -> None:
    actions.ask(ME, FORM)
    assert actions.stop(ME) is Stopped.WAITING
    assert list(actions.run(ME)) == []
    assert engine.requests == []
    assert actions.stop(ME) is Stopped.NOTHING


def test_a_stop_does_not_reach_the_next_run(actions: SteerActions) -> None:
    actions.stop(ME)
    assert run_to_end(actions).right.finish_reason is FinishReason.EOS


def test_a_closed_tab_frees_the_engine_and_stores_nothing(
    actions: SteerActions, engine: ScriptedEngine, repository: FailingRepository
) -> None:
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    next(reports)
    reports.close()
    assert (engine.running, engine.closed) == (0, 1)
    assert repository.comparisons == {}
    assert run_to_end(actions).comparison is not None


def test_a_session_that_is_closed_ends_its_run(actions: SteerActions, engine: ScriptedEngine) -> None:
    actions.ask(ME, FORM)
    reports = actions.run(ME)
    next(reports)
    actions.sessions.close(ME)
    assert [report for report in reports if report is not None] == []
    assert engine.running == 0


def test_reports_come_at_most_fifteen_times_a_second(actions: SteerActions, engine: ScriptedEngine) -> None:
    engine.script = say("w " * 60, "w " * 60)
    engine.step_seconds = 0.01
    actions.ask(ME, FORM)
    started_at = time.monotonic()
    n_reports = len(list(actions.run(ME)))
    assert n_reports <= 15 * (time.monotonic() - started_at) + 2  # the first and the last come at once


def test_an_error_of_the_engine_leaves_the_session_usable(actions: SteerActions, engine: ScriptedEngine) -> None:
    engine.error = PromptError("The prompt has 2000 tokens; 800 fit.")
    actions.ask(ME, FORM)
    with pytest.raises(PromptError, match="800 fit"):
        list(actions.run(ME))
    engine.error = None
    assert run_to_end(actions).comparison is not None


def test_an_answer_that_cannot_be_stored_is_kept_and_stored_by_a_retry(
    actions: SteerActions, repository: FailingRepository
) -> None:
    repository.fails = True
    result = run_to_end(actions)
    assert "disk is full" in result.failure
    judge(actions, result, Choice.RIGHT)
    held = actions.sessions.get(ME).chosen[OVERALL]
    assert held.choice is Choice.RIGHT
    assert held.revision is None
    assert "disk is full" in held.failure
    repository.fails = False
    actions.retry(ME, TOKEN)
    stored = actions.sessions.get(ME).chosen[OVERALL]
    assert (stored.revision, stored.client_key) == (1, held.client_key)
    assert repository.count_judgements() == 1
    assert not actions.sessions.get(ME).result.failure  # type: ignore[union-attr]


def test_a_double_click_is_one_row_and_a_change_keeps_the_old_choice_as_history(
    actions: SteerActions, repository: FailingRepository
) -> None:
    result = run_to_end(actions)
    judge(actions, result, Choice.LEFT)
    judge(actions, result, Choice.LEFT)
    (annotator,) = repository.annotators.values()
    assert [j.choice for j in repository.history_of(id_of(result), OVERALL, annotator.id)] == [Choice.LEFT]
    judge(actions, result, Choice.BOTH_BAD)
    judge(actions, result, Choice.LEFT)
    history = repository.history_of(id_of(result), OVERALL, annotator.id)
    assert [(j.revision, j.choice) for j in history] == [(1, Choice.LEFT), (2, Choice.BOTH_BAD), (3, Choice.LEFT)]
    assert [line.revision for line in actions.sessions.get(ME).log.values()] == [3]


def test_every_dimension_is_judged_by_itself(actions: SteerActions, repository: FailingRepository) -> None:
    dimensions = judged(actions.engine.guides)
    assert dimensions == (OVERALL, "helpfulness", "harmlessness")
    result = run_to_end(actions)
    for dimension, choice in zip(dimensions, (Choice.LEFT, Choice.TIE, Choice.RIGHT), strict=True):
        judge(actions, result, choice, dimension)
    assert {j.dimension: j.choice for j in repository.recent_judgements()} == {
        OVERALL: Choice.LEFT,
        "helpfulness": Choice.TIE,
        "harmlessness": Choice.RIGHT,
    }


@pytest.mark.parametrize(
    ("dimension", "choice"), [("wit", "left"), (OVERALL, "skip"), (OVERALL, ""), (OVERALL, None), (OVERALL, ["left"])]
)
def test_a_choice_that_is_not_on_the_page_is_refused(actions: SteerActions, dimension: str, choice: object) -> None:
    result = run_to_end(actions)
    with pytest.raises(InputError):
        actions.judge(ME, TOKEN, id_of(result), dimension, choice)


def test_a_judgement_of_answers_that_are_no_longer_shown_is_refused(
    actions: SteerActions, repository: FailingRepository
) -> None:
    first = run_to_end(actions)
    run_to_end(actions, replace(FORM, seed="8"))
    with pytest.raises(InputError, match="changed"):
        judge(actions, first, Choice.LEFT)
    assert repository.count_judgements() == 0


def test_a_judgement_while_new_answers_are_being_written_is_refused(actions: SteerActions) -> None:
    first = run_to_end(actions)
    actions.ask(ME, replace(FORM, seed="8"))
    reports = actions.run(ME)
    next(reports)
    with pytest.raises(InputError, match="changed"):
        judge(actions, first, Choice.LEFT)


def test_the_database_knows_an_annotator_by_a_hash_that_outlives_a_restart(
    actions: SteerActions, repository: FailingRepository, tmp_path: Path
) -> None:
    judge(actions, run_to_end(actions), Choice.LEFT)
    again = SteerActions(ScriptedEngine(), repository, Settings(home=tmp_path))
    judge(again, run_to_end(again), Choice.LEFT)
    (annotator,) = repository.annotators.values()
    assert TOKEN not in annotator.key_hash
    elsewhere = SteerActions(ScriptedEngine(), repository, Settings(home=tmp_path / "other"))
    judge(elsewhere, run_to_end(elsewhere), Choice.LEFT)
    assert len(repository.annotators) == 2


@pytest.mark.parametrize("token", [None, "", "short", 7, "x" * 500, "<script>" * 8])
def test_a_browser_without_a_token_of_ours_gets_one_and_cannot_judge_before(
    actions: SteerActions, token: object
) -> None:
    assert len(actions.browser_token(token)) >= 32
    assert actions.browser_token(token) != token
    result = run_to_end(actions)
    with pytest.raises(InputError, match="no key"):
        actions.judge(ME, token, id_of(result), OVERALL, "left")


@pytest.mark.parametrize("side", list(Side))
def test_both_answers_of_the_next_comparison_share_the_answer_that_was_picked(
    actions: SteerActions, repository: FailingRepository, side: Side
) -> None:
    first = run_to_end(actions)
    picked = first.left.text if side is Side.LEFT else first.right.text
    actions.carry_on(ME, id_of(first), side)
    comparison = repository.get_comparison(id_of(run_to_end(actions, NEXT_FORM)))
    expected = (
        Message(Role.USER, "Say something."),
        Message(Role.ASSISTANT, picked),
        Message(Role.USER, "And then?"),
    )
    assert comparison.left.messages == comparison.right.messages == expected
    actions.reset(ME)
    fresh = repository.get_comparison(id_of(run_to_end(actions)))
    assert len(fresh.left.messages) == 1


def test_a_page_whose_conversation_was_forgotten_cannot_go_on_without_it(
    actions: SteerActions, engine: ScriptedEngine, repository: FailingRepository
) -> None:
    actions.carry_on(ME, id_of(run_to_end(actions)), Side.RIGHT)
    actions.sessions.close(ME)
    with pytest.raises(InputError, match="connection to this session is gone"):
        actions.ask(ME, NEXT_FORM)
    with pytest.raises(InputError, match="connection to this session is gone"):
        actions.follow(ME, NEXT_FORM)
    assert list(actions.run(ME)) == []
    assert (len(engine.requests), len(repository.comparisons)) == (1, 1)
    actions.reset(ME)
    assert run_to_end(actions).comparison is not None


def test_a_reset_while_a_run_is_under_way_ends_with_what_the_session_shows_then(actions: SteerActions) -> None:
    run_to_end(actions)
    actions.ask(ME, replace(FORM, seed="8"))
    reports = actions.run(ME)
    next(reports)
    actions.reset(ME)
    assert list(reports) == [None]


def test_a_link_restores_the_comparison_in_another_session_with_its_judgements(actions: SteerActions) -> None:
    first = run_to_end(actions)
    carried = actions.carry_on(ME, id_of(first), Side.RIGHT)
    second = run_to_end(actions, NEXT_FORM)
    judge(actions, second, Choice.TIE, "helpfulness")
    restored = actions.restore("another tab", TOKEN, id_of(second))
    assert (restored.prompt, restored.conversation) == ("And then?", carried)
    assert restored.weights == {"helpfulness": 2.0}
    assert (restored.sampling.seed, restored.sampling.temperature) == (7, 0.7)
    assert (restored.result.left.text, restored.result.right.text) == (second.left.text, second.right.text)
    assert restored.result.right.kl_per_token == second.right.kl_per_token
    assert restored.result.right.guide_rewards == second.right.guide_rewards
    assert restored.result.right.tokens_per_second == pytest.approx(second.right.tokens_per_second)
    assert restored.other_models == ""
    chosen = actions.sessions.get("another tab").chosen
    assert {dimension: held.choice for dimension, held in chosen.items()} == {"helpfulness": Choice.TIE}
    actions.judge("another tab", TOKEN, id_of(second), "helpfulness", "left")
    assert actions.sessions.get("another tab").chosen["helpfulness"].revision == 2


def test_a_link_opens_without_its_choices_where_nothing_can_be_written(
    actions: SteerActions, repository: FailingRepository
) -> None:
    result = run_to_end(actions)
    judge(actions, result, Choice.LEFT)
    repository.fails = True
    restored = actions.restore("another tab", TOKEN, id_of(result))
    assert restored.result.right.text == result.right.text
    assert actions.sessions.get("another tab").chosen == {}


def test_a_link_to_answers_of_other_models_says_so(
    actions: SteerActions, repository: FailingRepository, tmp_path: Path
) -> None:
    result = run_to_end(actions)
    other = ScriptedEngine(base=replace(BASE, revision="sha256:1"))
    restored = SteerActions(other, repository, Settings(home=tmp_path)).restore(ME, TOKEN, id_of(result))
    assert restored.other_models == "scripted, guide-a, guide-b"


@pytest.mark.parametrize("bad_id", ["", "nonsense", "0" * 32, "'; DROP TABLE comparisons; --", "A" * 32, "1" * 10**6])
def test_a_link_that_leads_nowhere_is_told(actions: SteerActions, bad_id: str) -> None:
    with pytest.raises(NotFoundError):
        actions.restore(ME, TOKEN, bad_id)


def test_a_link_to_text_that_was_removed_is_told_and_the_page_goes_on(
    actions: SteerActions, repository: FailingRepository
) -> None:
    """It once left an emptied comparison in the session and said that something unexpected went wrong."""
    removed = run_to_end(actions)
    judge(actions, removed, Choice.LEFT)
    assert repository.forget_prompts(utc_now() + timedelta(days=1)).n_generations_emptied == 2
    with pytest.raises(NotFoundError, match="were removed"):
        actions.restore("another tab", TOKEN, id_of(removed))
    shown = run_to_end(actions, session_id="another tab")
    with pytest.raises(NotFoundError):
        actions.restore("another tab", TOKEN, id_of(removed))
    assert actions.sessions.get("another tab").result == shown
    actions.judge("another tab", TOKEN, id_of(shown), OVERALL, "left")
    assert actions.sessions.get("another tab").chosen[OVERALL].choice is Choice.LEFT


def test_a_link_does_not_open_what_is_judged_blind(
    actions: SteerActions, repository: FailingRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_to_end(actions)
    blind = replace(repository.get_comparison(id_of(result)), kind=ComparisonKind.STUDY)
    monkeypatch.setattr(repository, "get_comparison", lambda comparison_id: blind)
    with pytest.raises(NotFoundError, match="judged blind"):
        actions.restore(ME, TOKEN, id_of(result))


def test_sessions_do_not_see_each_other(actions: SteerActions, repository: FailingRepository) -> None:
    mine, yours = run_to_end(actions), run_to_end(actions, session_id="you")
    assert id_of(mine) != id_of(yours)
    with pytest.raises(InputError):
        actions.judge("you", TOKEN, id_of(mine), OVERALL, "left")
    actions.ask(ME, FORM)
    assert list(actions.run("you")) == []


def test_the_session_list_keeps_the_newest_fifty(actions: SteerActions) -> None:
    for seed in itertools.islice(itertools.count(), 51):
        judge(actions, run_to_end(actions, replace(FORM, seed=str(seed), prompt=f"Number {seed}")), Choice.LEFT)
    log = list(actions.sessions.get(ME).log.values())
    assert (len(log), log[0].prompt, log[-1].prompt) == (50, "Number 1", "Number 50")
