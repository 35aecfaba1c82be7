"""What the page's inputs hold, as they come, and their way into a request the engine can answer."""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.answers import ComparisonRequest, GuideInfo
from steering.errors import PromptError, SamplingError
from steering.types import MAX_SEED, Blend, Message, Role, SamplingSettings
from storage.records import check_text
from ui import wording
from ui.settings import Settings

MAX_WEIGHT = 4.0
WEIGHT_STEP = 0.1
ALONE_WEIGHT = 2.0
BALANCED_WEIGHT = 1.0
MAX_MESSAGES = 41  # twenty turns and the question
MAX_DRAWN_SEED = 2**31 - 1  # short enough to read out
N_TOP = 5
DEFAULT_MAX_NEW_TOKENS = 200
UNGUIDED = Blend()


@dataclass(frozen=True)
class SteerForm:
    """The Steer page's inputs, unchecked: a number field may be empty, a seed is what was typed.

    ``n_before`` is how many messages the page shows as the conversation so far. ``base_exponent`` is 1 unless a link
    brought another one.
    """

    prompt: str | None
    weights: Mapping[str, float | None]
    temperature: float | None
    top_p: float | None
    top_k: float | None
    min_p: float | None
    max_new_tokens: float | None
    seed: str | None
    n_before: float | None
    base_exponent: float | None


def blend_presets(guides: Sequence[GuideInfo]) -> dict[str, Mapping[str, float]]:
    """The blends a person can start from, by name: unguided, each guide alone, and all of them balanced."""
    dimensions = [guide.dimension for guide in guides]
    presets: dict[str, Mapping[str, float]] = {wording.UNGUIDED: dict.fromkeys(dimensions, 0.0)}
    for alone in dimensions:
        presets[wording.preset_of(alone)] = {name: ALONE_WEIGHT if name == alone else 0.0 for name in dimensions}
    if len(dimensions) > 1:
        presets[wording.BALANCED] = dict.fromkeys(dimensions, BALANCED_WEIGHT)
    return presets


def preset_named(guides: Sequence[GuideInfo], weights: Mapping[str, float | None]) -> str | None:
    """The name of the blend that has these weights, if one has."""
    return next((name for name, preset in blend_presets(guides).items() if preset == weights), None)


def starting_weights(guides: Sequence[GuideInfo]) -> Mapping[str, float]:
    """The blend the page opens with: balanced, or the only guide alone, so that there is something to see."""
    return list(blend_presets(guides).values())[-1]


def draw_seed() -> str:
    """A fresh seed."""
    return str(secrets.randbelow(MAX_DRAWN_SEED + 1))


def to_request(form: SteerForm, conversation: Sequence[Message], settings: Settings) -> ComparisonRequest:
    """Check a form and word it as the comparison of the unguided with the guided answer.

    Raises:
        InputError: an input is missing, out of range or too long; the message names it.
    """
    messages = (*conversation, Message(Role.USER, _check_prompt(form.prompt, conversation, settings)))
    weights = {name: _number(wording.title_of(name), weight) for name, weight in form.weights.items()}
    base_exponent = _number(wording.BASE_EXPONENT_NAME, form.base_exponent)
    guided = Blend({name: weight for name, weight in weights.items() if weight}, base_exponent)
    max_new_tokens = _whole(wording.MAX_NEW_TOKENS, form.max_new_tokens)
    if max_new_tokens > settings.max_new_tokens_limit:
        raise SamplingError(
            f"{wording.MAX_NEW_TOKENS} is {max_new_tokens}; at most {settings.max_new_tokens_limit} are allowed here.",
            hint="Ask for fewer.",
        )
    sampling = SamplingSettings(
        temperature=_number(wording.TEMPERATURE, form.temperature),
        top_k=_whole(wording.TOP_K, form.top_k),
        top_p=_number(wording.TOP_P, form.top_p),
        min_p=_number(wording.MIN_P, form.min_p),
        max_new_tokens=max_new_tokens,
        seed=_seed(form.seed),
    )
    return ComparisonRequest(messages, (UNGUIDED, guided), sampling, n_top=N_TOP)


def _check_prompt(prompt: str | None, conversation: Sequence[Message], settings: Settings) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        raise PromptError("Your message is empty.", hint="Type a question or a request first.")
    if len(conversation) + 1 > MAX_MESSAGES:
        raise PromptError(
            f"The conversation has {len(conversation)} messages; at most {MAX_MESSAGES - 1} can come before a new one.",
            hint="Start a new conversation.",
        )
    n_chars = len(prompt) + sum(len(message.content) for message in conversation)
    if n_chars > settings.max_prompt_chars:
        raise PromptError(
            f"Your message and the conversation before it have {n_chars} characters; "
            f"at most {settings.max_prompt_chars} are allowed.",
            hint="Shorten the message, or start a new conversation.",
        )
    check_text("message", prompt, nul_allowed=True)
    return prompt


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SamplingError(f"{name} is empty or not a number.", hint=f"Give {name} a number.")
    return value


def _whole(name: str, value: object) -> int:
    number = _number(name, value)
    if number != int(number):
        raise SamplingError(f"{name} is {number:g}; it must be a whole number.", hint=f"Round {name}.")
    return int(number)


def _seed(text: object) -> int:
    digits = str(text).strip() if text is not None else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_SEED)) and int(digits) <= MAX_SEED):
        shown = digits if len(digits) <= 30 else digits[:30] + "…"
        raise SamplingError(
            f"The seed is “{shown}”; it must be a whole number from 0 to {MAX_SEED}.", hint="Draw a new one."
        )
    return int(digits)
