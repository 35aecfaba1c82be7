"""The JSON document of a comparison: everything a replay needs, in types JSON has."""

import json
import math
from dataclasses import fields, replace

import pytest

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo
from steering.types import Blend, FinishReason, Message, Role, SamplingSettings, StepTrace, TopAlternative
from ui.document import comparison_document

BASE = BaseInfo("tiny", "sha256:abc", "cpu", "float32", 128, 300)
GUIDE = GuideInfo("tiny-wit", "wit", 0.5, "f" * 64, "lora", version=3, beta=0.1, licence="MIT")
STEP = StepTrace(7, -0.5, -0.25, {"wit": -0.75}, 0.125, 1.5, (TopAlternative(7, 0.6, 0.8), TopAlternative(9, 0.2, 0.1)))
ANSWER = Answer(Blend({"wit": 2.0}), {"wit": 1.0}, "é\u2028", (7, 7), FinishReason.EOS, 0.5, (STEP, STEP))
REQUEST = ComparisonRequest(
    (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "Hi")), (Blend(), ANSWER.blend), SamplingSettings(seed=2**62)
)


def document(*answers: Answer, trace: bool = False) -> dict:
    """The document as a reader of the written JSON sees it."""
    made = comparison_document(BASE, [GUIDE], REQUEST, (1, 2, 3), answers, trace=trace)
    return json.loads(json.dumps(made, allow_nan=False))


def test_the_document_has_everything_a_replay_needs() -> None:
    made = document(ANSWER)
    assert made == {
        "base": {"id": "tiny", "revision": "sha256:abc", "dtype": "float32", "device": "cpu"},
        "guides": [{"id": "tiny-wit", "dimension": "wit", "unit": 0.5, "sha256": "f" * 64}],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "prompt_token_ids": [1, 2, 3],
        "sampling": made["sampling"],
        "answers": [
            {
                "weights": {"wit": 2.0},
                "exponents": {"wit": 1.0},
                "base_exponent": 1.0,
                "text": "é\u2028",
                "token_ids": [7, 7],
                "finish_reason": "eos",
                "seconds": 0.5,
                "kl_per_token": 0.125,
                "guide_rewards": {"wit": -0.75},
            }
        ],
    }
    assert SamplingSettings(**made["sampling"]) == REQUEST.sampling
    assert made["sampling"].keys() == {field.name for field in fields(SamplingSettings)}


def test_with_a_trace_every_step_is_there() -> None:
    (answer,) = document(ANSWER, trace=True)["answers"]
    step = {
        "token_id": 7,
        "base_logprob": -0.5,
        "mixed_logprob": -0.25,
        "guide_logprobs": {"wit": -0.75},
        "kl": 0.125,
        "entropy": 1.5,
        "top": [
            {"token_id": 7, "base_prob": 0.6, "mixed_prob": 0.8},
            {"token_id": 9, "base_prob": 0.2, "mixed_prob": 0.1},
        ],
    }
    assert answer["steps"] == [step, step]


def test_an_unguided_answer_says_that_every_weight_was_0() -> None:
    unguided = replace(ANSWER, blend=Blend(), exponents={"wit": 0.0})
    first, second = document(unguided, ANSWER)["answers"]
    assert (first["weights"], second["weights"]) == ({"wit": 0.0}, {"wit": 2.0})


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
@pytest.mark.parametrize("name", ["base_logprob", "mixed_logprob", "kl", "entropy"])
def test_a_number_json_cannot_write_is_null(name: str, value: float) -> None:
    odd = replace(ANSWER, steps=(replace(STEP, **{name: value}),))
    (answer,) = document(odd, trace=True)["answers"]
    assert answer["steps"][0][name] is None
    assert (answer["kl_per_token"] is None) == (name == "kl")


def test_a_reward_of_minus_infinity_is_null_in_the_step_and_in_the_mean() -> None:
    odd = replace(ANSWER, steps=(STEP, replace(STEP, guide_logprobs={"wit": -math.inf})))
    (answer,) = document(odd, trace=True)["answers"]
    assert answer["steps"][1]["guide_logprobs"] == {"wit": None}
    assert answer["guide_rewards"] == {"wit": None}


def test_an_answer_without_a_token_has_nothing_to_average() -> None:
    empty = replace(ANSWER, token_ids=(), steps=(), text="", finish_reason=None)
    (answer,) = document(empty, trace=True)["answers"]
    assert (answer["kl_per_token"], answer["guide_rewards"], answer["steps"]) == (None, {}, [])
    assert answer["finish_reason"] is None
