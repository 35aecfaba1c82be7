"""The JSON document of a comparison: everything needed to replay it, and what each step reported."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from models.answers import Answer, BaseInfo, ComparisonRequest, GuideInfo
from steering.types import StepTrace


def comparison_document(
    base: BaseInfo,
    guides: Sequence[GuideInfo],
    request: ComparisonRequest,
    prompt_token_ids: Sequence[int],
    answers: Sequence[Answer],
    *,
    trace: bool,
) -> dict[str, Any]:
    """Return the document of a finished comparison, of JSON types only.

    Log-probs, KL and entropy are in nats, at temperature 1 and before top-k, top-p and min-p. A log-prob of -inf, which
    JSON cannot write, is null. ``trace`` adds ``steps`` to every answer.
    """
    return {
        "base": {"id": base.id, "revision": base.revision, "dtype": base.dtype, "device": base.device},
        "guides": [
            {"id": guide.id, "dimension": guide.dimension, "unit": guide.unit, "sha256": guide.sha256}
            for guide in guides
        ],
        "messages": [{"role": message.role.value, "content": message.content} for message in request.messages],
        "prompt_token_ids": list(prompt_token_ids),
        "sampling": asdict(request.sampling),
        "answers": [_answer(answer, trace=trace) for answer in answers],
    }


def _answer(answer: Answer, *, trace: bool) -> dict[str, Any]:
    document = {
        "weights": {dimension: answer.blend.weights.get(dimension, 0.0) for dimension in answer.exponents},
        "exponents": dict(answer.exponents),
        "base_exponent": answer.blend.base_exponent,
        "text": answer.text,
        "token_ids": list(answer.token_ids),
        "finish_reason": answer.finish_reason.value if answer.finish_reason else None,
        "seconds": answer.seconds,
        "kl_per_token": None if answer.kl_per_token is None else _finite(answer.kl_per_token),
        "guide_rewards": {dimension: _finite(reward) for dimension, reward in answer.guide_rewards.items()},
    }
    if trace:
        document["steps"] = [_step(step) for step in answer.steps]
    return document


def _step(step: StepTrace) -> dict[str, Any]:
    return {
        "token_id": step.token_id,
        "base_logprob": _finite(step.base_logprob),
        "mixed_logprob": _finite(step.mixed_logprob),
        "guide_logprobs": {dimension: _finite(value) for dimension, value in step.guide_logprobs.items()},
        "kl": _finite(step.kl),
        "entropy": _finite(step.entropy),
        "top": [asdict(alternative) for alternative in step.top],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
