"""Many requests at once, against the real engine with tiny models: who waits, who goes on, and who fails alone."""

import gc
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest
import torch

from models.answers import ComparisonRequest
from models.engine import Engine
from models.members import Group
from models.options import EngineOptions, StepPath
from models.reading import Part
from steering.errors import BusyError, CapacityError, LoadError
from steering.types import Blend, FinishReason, Message, Role, SamplingSettings
from tests.models.desk import Desk

Engines = Callable[..., Engine]
GUIDED = Blend({"lora-a": 1.0})
BOTH = (Blend(), GUIDED)


def ask(
    text: str = "the cat", n_tokens: int = 20, blends: tuple[Blend, ...] = BOTH, seed: int = 1
) -> ComparisonRequest:
    sampling = SamplingSettings(max_new_tokens=n_tokens, seed=seed, temperature=1.2, top_p=0.9, stop_at_eos=False)
    return ComparisonRequest((Message(Role.USER, text),), blends, sampling)


@pytest.fixture
def engine(tiny_engine: Engines) -> Iterator[Engine]:
    """An engine whose limits a test may change; left as it was found."""
    engine = tiny_engine("llama", "lora-a", "weak")
    limits = engine._scheduler.limits
    engine._loaded.ensemble.forget()
    yield engine
    engine._scheduler.limits = limits
    assert engine._scheduler.is_idle
    assert engine.n_slots == 0


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


def limit(engine: Engine, **limits: float) -> None:
    engine._scheduler.limits = replace(engine._scheduler.limits, **limits)


@pytest.mark.parametrize("path", [StepPath.EAGER, StepPath.STATIC])
def test_sixteen_visitors_at_once_get_what_each_gets_alone(tiny_engine: Engines, path: StepPath) -> None:
    options = EngineOptions(path=path, memory_fraction=0.004)
    together = tiny_engine("llama", "lora-a", "lora-b", "weak", options=options)
    alone = tiny_engine("llama", "lora-a", "lora-b", "weak")
    dimensions = ("lora-a", "lora-b", "weak")
    requests = [
        ask(
            "the cat " * (1 + number % 5),
            n_tokens=10 + 3 * number % 40,
            blends=(Blend(), Blend({dimensions[number % 3]: 0.5 + number / 8})),
            seed=number,
        )
        for number in range(16)
    ]
    answers: dict[int, object] = {}

    def visit(number: int) -> None:
        *_, last = together.compare(requests[number], owner=str(number))
        answers[number] = [(answer.text, answer.token_ids) for answer in last.answers()]

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for number, request in enumerate(requests):
        *_, last = alone.compare(request)
        assert answers[number] == [(answer.text, answer.token_ids) for answer in last.answers()]
    assert together.n_slots == 0


def test_who_comes_later_joins_those_who_are_being_answered(desk: Desk) -> None:
    first = desk.submit(ask(n_tokens=30))
    desk.turn(5)
    second = desk.submit(ask("the dog", n_tokens=5))
    desk.turn(4)
    assert first.n_written >= 8
    assert second.n_written >= 3
    desk.finish()
    assert second.letters.index(second.letters[-1]) < len(first.letters)


def test_requests_wait_with_a_position_and_move_up(engine: Engine, desk: Desk) -> None:
    limit(engine, max_slots=2)
    visits = [desk.submit(ask(n_tokens=6, seed=n), owner=str(n)) for n in range(4)]
    desk.finish()
    assert [visit.positions for visit in visits] == [[0], [1, 0], [2, 1, 0], [3, 2, 1, 0]]
    alone = [desk.submit(ask(n_tokens=6, seed=n)) for n in range(4)]
    desk.finish()
    assert [visit.token_ids for visit in visits] == [visit.token_ids for visit in alone]


def test_a_request_stopped_while_it_waits_ends_without_an_answer(engine: Engine, desk: Desk) -> None:
    limit(engine, max_slots=2)
    running = desk.submit(ask(n_tokens=10))
    waiting = desk.submit(ask(n_tokens=10))
    desk.turn(2)
    waiting.job.is_stopping = True
    desk.turn()
    assert waiting.run.is_over
    assert [answer.finish_reason for answer in waiting.answers] == [FinishReason.STOPPED] * 2
    assert waiting.token_ids == [(), ()]
    desk.finish()
    assert running.error is None


def test_owners_take_turns_however_much_one_of_them_asks(engine: Engine, desk: Desk) -> None:
    limit(engine, max_slots=2)
    running = desk.submit(ask(n_tokens=4), owner="greedy")
    desk.turn()
    greedy = [desk.submit(ask(n_tokens=4, seed=n), owner="greedy") for n in range(3)]
    modest = desk.submit(ask(n_tokens=4), owner="modest")
    desk.turn()
    assert [visit.positions[-1] for visit in [modest, *greedy]] == [1, 2, 3, 4]
    desk.finish()
    assert running.run.is_over


def test_a_full_waitlist_refuses_at_once_and_takes_the_next_when_there_is_room(engine: Engine, desk: Desk) -> None:
    limit(engine, max_slots=2)
    waitlist = engine._scheduler._waitlist
    waitlist._max_requests, before = 2, waitlist._max_requests
    desk.submit(ask(n_tokens=5))
    desk.turn()
    for _ in range(2):
        desk.submit(ask(n_tokens=5))
    with pytest.raises(BusyError, match="2 requests are waiting") as refused:
        desk.submit(ask(n_tokens=5))
    assert refused.value.hint
    with pytest.raises(BusyError, match="2 requests are waiting"):
        engine.check_room()
    desk.finish()
    engine.check_room(n_coming=2)  # of which one has its turn at once
    with pytest.raises(BusyError):
        engine.check_room(n_coming=3)
    waitlist._max_requests = before
    assert not desk.submit(ask(n_tokens=2)).error
    desk.finish()


def test_who_withdraws_a_waiting_request_may_ask_again_though_the_line_is_full(engine: Engine, desk: Desk) -> None:
    """A visitor who moved a slider while waiting was once refused because of the request they had just given up."""
    limit(engine, max_slots=2)
    waitlist = engine._scheduler._waitlist
    waitlist._max_requests, before = 1, waitlist._max_requests
    desk.submit(ask(n_tokens=5))
    desk.turn()
    given_up = desk.submit(ask(n_tokens=5))
    given_up.job.is_cancelled = True
    again = desk.submit(ask(n_tokens=5, seed=2))
    waitlist._max_requests = before
    desk.finish()
    assert again.run.is_over
    assert not given_up.n_written


def test_a_waitlist_full_of_tokens_refuses_long_requests_and_lets_one_wait_always(engine: Engine, desk: Desk) -> None:
    limit(engine, max_slots=2)
    waitlist = engine._scheduler._waitlist
    waitlist._max_tokens, before = 40, waitlist._max_tokens
    desk.submit(ask(n_tokens=5))
    desk.turn()
    long_one = desk.submit(ask(n_tokens=60))
    with pytest.raises(BusyError):
        desk.submit(ask(n_tokens=60))
    waitlist._max_tokens = before
    desk.finish()
    assert long_one.run.is_over


def test_what_could_never_fit_is_refused_with_the_numbers(engine: Engine, desk: Desk) -> None:
    limit(engine, cache_bytes=100_000)
    with pytest.raises(CapacityError, match=r"9 answers of up to \d+ tokens need"):
        desk.submit(ask(n_tokens=60, blends=(GUIDED,) * 9))
    limit(engine, max_slots=3, cache_bytes=2**30)
    with pytest.raises(CapacityError, match="up to 3 answers"):
        desk.submit(ask(blends=(GUIDED,) * 4))


def test_memory_bounds_who_is_answered_at_once(engine: Engine, desk: Desk) -> None:
    first = desk.submit(ask(n_tokens=20))
    desk.turn(2)
    needed = engine._scheduler._decoder.batch.bytes_with(0, 0, 0)
    limit(engine, cache_bytes=needed)
    second = desk.submit(ask(n_tokens=20))
    desk.turn(3)
    assert second.positions == [1]
    assert first.n_written >= 4
    desk.finish()
    assert second.positions == [1, 0]


def test_the_time_limit_ends_answers_as_they_are_and_still_scores_them(engine: Engine, desk: Desk) -> None:
    patient = desk.submit(ask(n_tokens=60, seed=3))
    desk.turn(4)
    limit(engine, time_limit_seconds=0.0)
    desk.turn()
    limit(engine, time_limit_seconds=300.0)
    desk.finish()
    assert patient.run.timed_out
    assert [answer.finish_reason for answer in patient.answers] == [FinishReason.STOPPED] * 2
    assert all(0 < len(answer.token_ids) < 60 for answer in patient.answers)
    assert set(patient.answers[0].guide_rewards) == {"lora-a", "weak"}


def test_two_hundred_cancelled_or_stopped_runs_lose_no_slot_and_no_memory(engine: Engine, desk: Desk) -> None:
    def churn(n_runs: int) -> None:
        for number in range(n_runs):
            visit = desk.submit(ask(f"the cat {number % 7}", n_tokens=50, seed=number), owner=str(number % 3))
            if number % 2:
                desk.submit(ask("the dog", n_tokens=3))
            desk.turn(number % 5)
            visit.job.is_cancelled, visit.job.is_stopping = number % 3 != 0, number % 3 == 0
            desk.turn()
            assert all(key not in engine._scheduler._decoding for key in visit.job.keys)
            desk.finish()
            desk.visits.clear()

    def held() -> tuple[int, int]:
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return len(tensors), psutil.Process().memory_info().rss

    churn(40)
    n_tensors, n_bytes = held()
    churn(200)
    n_tensors_after, n_bytes_after = held()
    assert abs(n_tensors_after - n_tensors) <= 50
    assert n_bytes_after - n_bytes < 20 * 2**20


def test_two_hundred_callers_that_go_away_leave_no_slot_behind(tiny_engine: Engines) -> None:
    engine = tiny_engine("llama", "lora-a", "weak", options=EngineOptions())
    for number in range(200):
        steps = engine.compare(ask(n_tokens=50, seed=number), owner=str(number))
        for _ in range(number % 4):
            next(steps)
        steps.close()
    *_, last = engine.compare(ask(n_tokens=3))
    assert last.finished
    deadline = threading.Event()
    for _ in range(100):
        if engine._scheduler.is_idle:
            break
        deadline.wait(0.05)
    assert engine.n_slots == 0


def test_a_step_without_memory_is_taken_again_and_nobody_notices(
    engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = desk.submit(ask())
    desk.finish()
    failing = Failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    visit = desk.submit(ask())
    desk.turn(4)
    failing.times = 1
    desk.finish()
    assert failing.n_failed == 1
    assert visit.error is None
    assert visit.token_ids == expected.token_ids


def test_where_memory_never_suffices_who_came_last_goes_and_the_others_go_on(
    engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = desk.submit(ask())
    desk.finish()
    failing = Failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory"))
    first = desk.submit(ask())
    desk.turn(2)
    last = desk.submit(ask("the dog"))
    desk.turn(4)
    failing.times = 2
    desk.finish()
    assert isinstance(last.error, torch.OutOfMemoryError)
    assert first.error is None
    assert first.token_ids == expected.token_ids
    with_caller = iter(engine.compare(ask(n_tokens=3)))
    assert next(with_caller).n_tokens >= 0
    with_caller.close()


def test_running_out_of_memory_is_said_plainly_and_the_next_run_works(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        failing = Failing(patched, torch.OutOfMemoryError("CUDA out of memory"))
        failing.times = 10**6
        with pytest.raises(CapacityError, match="Memory ran out"):
            list(engine.compare(ask()))
    *_, last = engine.compare(ask(n_tokens=3))
    assert last.finished


def test_a_failing_guide_ends_the_answers_it_guides_and_no_others(
    engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguided = ask(blends=(Blend(), Blend()))
    expected = desk.submit(unguided)
    desk.finish()
    weak = engine._loaded.ensemble.members.groups[1]
    assert not weak.has_base
    failing = Failing(monkeypatch, RuntimeError("the guide is broken"), only=weak)
    survivor = desk.submit(unguided)
    guided = [desk.submit(ask(seed=n)) for n in range(2)]
    desk.turn(5)
    failing.times = 10**6
    desk.turn()
    failing.times = 0
    desk.finish()
    assert [str(visit.error) for visit in guided] == ["the guide is broken"] * 2
    assert survivor.error is None
    assert survivor.token_ids == expected.token_ids
    again = desk.submit(ask(n_tokens=3))
    desk.finish()
    assert again.error is None


def test_a_guide_that_returns_nan_is_said_plainly_and_ends_no_other_request(
    engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = desk.submit(ask(blends=(Blend(),)))
    desk.finish()
    weak = engine._loaded.ensemble.members.groups[1]
    whole = Group.forward

    def broken(self: Group, tokens: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        logits = whole(self, tokens, *rest, **named)
        return logits * torch.nan if self is weak else logits

    with monkeypatch.context() as patched:
        patched.setattr(Group, "forward", broken)
        with pytest.raises(LoadError, match="NaN"):
            list(engine.compare(ask(blends=(Blend({"weak": 1.0}),))))
        survivor = desk.submit(replace(ask(blends=(Blend(),)), score_unguided=False))
        guided = desk.submit(ask(blends=(Blend({"weak": 1.0}),)))
        desk.finish()
    assert isinstance(guided.error, FloatingPointError)
    assert survivor.token_ids == expected.token_ids


def test_a_prompt_that_cannot_be_read_fails_alone(engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desk.submit(ask(n_tokens=12))
    desk.turn(3)
    whole = Part.advance

    def broken(self: Part, n_tokens: int) -> None:
        raise RuntimeError("unreadable")

    monkeypatch.setattr(Part, "advance", broken)
    second = desk.submit(ask("another prompt"))
    desk.turn(2)
    monkeypatch.setattr(Part, "advance", whole)
    desk.finish()
    assert str(second.error) == "unreadable"
    assert first.error is None
    assert first.run.is_over


def test_an_engine_that_fails_altogether_tells_everybody_and_begins_afresh(
    tiny_engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine("llama", "lora-a", "weak", options=EngineOptions())
    with monkeypatch.context() as patched:
        patched.setattr(type(engine._scheduler), "_end_from_outside", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(engine.compare(ask()))
    *_, last = engine.compare(ask(n_tokens=3))
    assert last.finished


def test_a_long_prompt_is_read_in_pieces_between_the_steps_of_the_others(engine: Engine, desk: Desk) -> None:
    limit(engine, chunk_tokens=8)
    first = desk.submit(ask(n_tokens=40))
    desk.turn(4)
    before = first.n_written
    long_one = desk.submit(ask("the cat sat on the mat and " * 5, n_tokens=5))
    n_turns = 0
    while not long_one.n_written:
        desk.turn()
        n_turns += 1
    assert n_turns >= len(long_one.job.prompts[0]) // 8
    assert first.n_written - before >= n_turns - 1, "a step was left out while the prompt was read"
    desk.finish()


def test_short_prompts_do_not_wait_for_a_long_one_to_be_read(engine: Engine, desk: Desk) -> None:
    limit(engine, chunk_tokens=8)
    long_one = desk.submit(ask("the cat sat on the mat and " * 5, n_tokens=2))
    short = desk.submit(ask("x", n_tokens=2))
    while not short.n_written:
        desk.turn()
    assert not long_one.n_written
    desk.finish()


def test_what_two_prompts_share_is_read_once(engine: Engine, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same prompt under another blend costs nothing to read, and a chat that goes on only what is new."""
    read: list[int] = []
    whole = Group.forward

    def counted(self: Group, tokens: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        read.append(tokens.shape[1])
        return whole(self, tokens, *rest, **named)

    monkeypatch.setattr(Group, "forward", counted)
    chat = (Message(Role.USER, "the cat sat on the mat"),)
    longer = (*chat, Message(Role.ASSISTANT, "the dog"), Message(Role.USER, "and the door"))
    sampling = SamplingSettings(max_new_tokens=1)
    n_read = []
    fresh = []
    for messages, blends in [(chat, BOTH), (chat, (Blend({"weak": 1.0}),)), (longer, BOTH)]:
        read.clear()
        request = replace(ask(blends=blends), messages=messages, sampling=sampling, score_unguided=False)
        visit = desk.submit(request)
        desk.finish()
        n_read.append(sum(read))
        fresh.append(visit.token_ids)
    n_prompt, n_longer = len(engine.prompt_token_ids(chat)), len(engine.prompt_token_ids(longer))
    assert n_read[0] == 2 * n_prompt  # the base's group and the guide that is a model of its own
    assert n_read[1] == 0
    assert 0 < n_read[2] <= 2 * (n_longer - n_prompt + 2)
    engine._loaded.ensemble.forget()
    again = desk.submit(replace(ask(blends=BOTH), messages=longer, sampling=sampling))
    desk.finish()
    assert again.token_ids == fresh[2]


class Failing:
    """Makes the next ``times`` decoding steps raise an error; ``only`` in one group."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception, only: Group | None = None) -> None:
        self.times = self.n_failed = 0
        whole = Group.forward
        failing = self

        def forward(self: Group, tokens: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
            if failing.times and tokens.shape[1] == 1 and only in (None, self):
                failing.times -= 1
                failing.n_failed += 1
                raise error
            return whole(self, tokens, *rest, **named)

        monkeypatch.setattr(Group, "forward", forward)
