"""How the engine behaves: progress, stopping, closing, waiting, refusing."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import models.reading
from models.answers import ComparisonRequest, Progress
from models.engine import Engine
from models.reading import ModelReading
from steering.errors import BlendError, InputError, PromptError
from steering.types import Blend, FinishReason, Message, Role, SamplingSettings
from tests.models.oracle import Oracle

Engines = Callable[..., Engine]


@pytest.fixture
def engine(tiny_engine: Engines) -> Engine:
    return tiny_engine("llama", "lora-a", "weak")


def request(n_tokens: int = 20, *blends: Blend, text: str = "the cat") -> ComparisonRequest:
    sampling = SamplingSettings(max_new_tokens=n_tokens, seed=1, temperature=1.2, top_p=1.0)
    return ComparisonRequest((Message(Role.USER, text),), blends or (Blend(), Blend({"lora-a": 1.0})), sampling)


def test_progress_comes_after_every_token_and_once_more_when_the_guides_have_scored(engine: Engine) -> None:
    seen: list[Progress] = list(engine.compare(request()))
    assert [progress.finished for progress in seen] == [False] * (len(seen) - 1) + [True]
    answers = seen[-1].answers()
    n_tokens = max(len(answer.token_ids) for answer in answers)
    assert [progress.n_tokens for progress in seen] == [*range(1, n_tokens + 1), n_tokens]
    assert all(answer.finish_reason in (FinishReason.EOS, FinishReason.LENGTH) for answer in answers)
    assert list(seen[-1].prompt_token_ids) == engine.prompt_token_ids((Message(Role.USER, "the cat"),))


def test_text_only_grows_and_pieces_join_to_it(engine: Engine) -> None:
    texts: list[str] = [""]
    for progress in engine.compare(request(40)):
        answer = progress.answers()[1]
        assert answer.text.startswith(texts[-1])
        texts.append(answer.text)
    assert "".join(engine.spell(answer.token_ids)) == answer.text
    assert len(engine.spell(answer.token_ids)) == len(answer.token_ids)


def test_seconds_grow_and_speed_and_means_are_those_of_the_steps(engine: Engine) -> None:
    *_, last = engine.compare(request())
    answer = last.answers()[1]
    assert answer.seconds > 0
    assert answer.tokens_per_second == pytest.approx(len(answer.token_ids) / answer.seconds)
    assert answer.kl_per_token == pytest.approx(sum(step.kl for step in answer.steps) / len(answer.steps))
    rewards = [step.guide_logprobs["weak"] for step in answer.steps]
    assert answer.guide_rewards["weak"] == pytest.approx(sum(rewards) / len(rewards))


def test_stopping_ends_every_answer_within_a_step_and_still_reports_rewards(engine: Engine) -> None:
    stopping = threading.Event()
    steps: Iterator[Progress] = engine.compare(request(100), stop=stopping.is_set)
    for _ in range(3):
        assert not next(steps).finished
    stopping.set()
    *_, last = steps
    assert last.finished
    assert not last.timed_out
    assert [answer.finish_reason for answer in last.answers()] == [FinishReason.STOPPED] * 2
    assert [len(answer.token_ids) for answer in last.answers()] == [4, 4]
    assert all(set(answer.guide_rewards) == {"lora-a", "weak"} for answer in last.answers())


def test_closing_a_run_lets_the_next_one_start(engine: Engine) -> None:
    steps = engine.compare(request(100))
    next(steps)
    assert engine.n_slots == 2
    steps.close()
    assert engine.n_slots == 0
    *_, last = engine.compare(request(3))
    assert last.finished


def test_on_the_callers_thread_a_second_run_waits_for_the_first_and_gives_the_same_answer(engine: Engine) -> None:
    *_, alone = engine.compare(request())
    first = engine.compare(request(60))
    next(first)
    results = []
    waiting = threading.Thread(target=lambda: results.append([*engine.compare(request())][-1].answers()))
    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    list(first)
    waiting.join(timeout=30)
    assert [answer.token_ids for answer in results[0]] == [answer.token_ids for answer in alone.answers()]


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(engine: Engine) -> None:
    n_prompt = len(engine.prompt_token_ids((Message(Role.USER, "the cat " * 30),)))
    too_long = request(128 - n_prompt + 1, text="the cat " * 30)
    with pytest.raises(PromptError, match=rf"{n_prompt} tokens.*{n_prompt - 1} fit.*128"):
        next(engine.compare(too_long))
    fits = replace(too_long, sampling=replace(too_long.sampling, max_new_tokens=128 - n_prompt))
    *_, last = engine.compare(fits)
    assert last.finished


def test_an_unknown_dimension_is_refused_before_anything_runs(engine: Engine) -> None:
    with pytest.raises(BlendError, match="'kindness'"):
        next(engine.compare(request(5, Blend({"kindness": 1.0}))))
    assert engine.n_slots == 0


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_prompt_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        request(5, text=text)


def test_a_chat_that_ends_with_the_assistant_is_refused() -> None:
    with pytest.raises(InputError, match="must be the user's"):
        ComparisonRequest((Message(Role.USER, "Hi"), Message(Role.ASSISTANT, "Hello")), (Blend(),))


def test_answers_outlive_a_lack_of_memory_for_scoring_them(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ModelReading, response: list[int]) -> Iterator[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    *_, scored = engine.compare(request())
    monkeypatch.setattr(ModelReading, "score", fail)
    *_, last = engine.compare(request())
    assert last.finished
    assert [answer.text for answer in last.answers()] == [answer.text for answer in scored.answers()]
    assert last.answers()[0].guide_rewards == {}
    assert last.answers()[1].guide_rewards != {}


@pytest.mark.parametrize("n_together", [1, 4, 7])
def test_scoring_in_pieces_is_scoring_at_once(engine: Engine, n_together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, whole = engine.compare(request(30))
    monkeypatch.setattr(models.reading, "_SCORED_TOGETHER", n_together)
    *_, pieces = engine.compare(request(30))
    assert pieces.answers()[0].guide_rewards == pytest.approx(whole.answers()[0].guide_rewards, abs=1e-5)


def test_an_unguided_answer_is_scored_by_the_guides_afterwards(
    engine: Engine, tiny_folder: Callable[[str], Path]
) -> None:
    *_, last = engine.compare(request(15, Blend()))
    (answer,) = last.answers()
    root = tiny_folder("llama")
    members = Oracle(root / "base", [root / "lora-a", root / "weak"]).members(
        [last.prompt_token_ids] * 3, answer.token_ids, engine.base.vocabulary_size
    )
    for index, step in enumerate(answer.steps):
        expected = dict(zip(("lora-a", "weak"), members[1:, index, step.token_id].tolist(), strict=True))
        assert step.guide_logprobs == pytest.approx(expected, abs=1e-4)


def test_without_guides_an_engine_answers_unguided(tiny_engine: Engines) -> None:
    *_, last = tiny_engine("gpt2").compare(request(5, Blend()))
    assert last.answers()[0].guide_rewards == {}


def test_an_answer_of_one_token_is_scored_too(engine: Engine) -> None:
    """Scoring in pieces once read an empty piece after the only token and failed, after the answer was shown."""
    *_, last = engine.compare(request(1))
    *_, longer = engine.compare(request(2))
    for one, two in zip(last.answers(), longer.answers(), strict=True):
        assert one.steps[0].guide_logprobs == pytest.approx(dict(two.steps[0].guide_logprobs), abs=1e-4)
