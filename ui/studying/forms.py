"""What the Studies page's inputs hold, as they come, and their way into the document a person would write in TOML."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from steering.errors import PromptError, SettingsError
from ui import wording_studies as wording
from ui.prompt_files import BUILT_IN_PREFIX, ReadPrompt, built_in_prompts, look_over
from ui.settings import Settings
from ui.study_documents import prompt_entry
from ui.study_files import StudyPlan, study_plan

PASTED, FILE, BUILT_IN_SET = "pasted", "file", "built-in"
FIXED, DRAWN = "fixed", "drawn"
PUBLISHING = "publishing"
N_QUESTIONS, N_BLENDS, N_GOLD = 6, 8, 10
MAX_FILE_BYTES = 1_000_000
PASTED_NAME = "pasted.txt"
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "max_new_tokens", "plausibility")

Values = Mapping[str, object]
"""The inputs by name: those of a row are ``question-1-text``, ``blend-2-helpfulness``, ``low-helpfulness``."""


def prompts_read(values: Values) -> tuple[ReadPrompt, ...]:
    """What became of each of the prompts that were pasted, uploaded or picked.

    Raises:
        PromptError: there are none, or the file cannot be used as a whole.
    """
    source = values["source"]
    if source == BUILT_IN_SET:
        prompts = built_in_prompts(str(values["built_in"]))
        return tuple(ReadPrompt(line, prompt) for line, prompt in enumerate(prompts, start=1))
    if source == FILE:
        name, content = _file(values["file"])
    else:
        name, content = PASTED_NAME, str(values["pasted"] or "").encode("utf-8", "surrogatepass")
    read = tuple(look_over(name, content))
    if not read:
        raise PromptError(wording.NO_PROMPTS, hint=wording.NO_PROMPTS_HINT)
    return read


def dimensions_of(values: Values) -> tuple[str, ...]:
    """The dimensions of the guides that a form was laid out for, in their order."""
    return tuple(name.removeprefix("low-") for name in values if name.startswith("low-"))


def plan_of(values: Values, dimensions: Sequence[str], settings: Settings) -> StudyPlan:
    """The study the form asks for, checked as a TOML file is; prompts that were refused are left out.

    Raises:
        SettingsError: a field is missing or wrong; the message names it.
        PromptError: there are no prompts, or one is longer than this page takes.
    """
    plan = study_plan(document_of(values, dimensions), Path())
    limit = settings.max_new_tokens_limit
    if plan.settings.sampling.max_new_tokens > limit:
        raise SettingsError(
            wording.TOO_MANY_TOKENS.format(given=plan.settings.sampling.max_new_tokens, limit=limit),
            hint=wording.TOO_MANY_TOKENS_HINT,
        )
    for number, prompt in enumerate(plan.settings.prompts, start=1):
        n_chars = sum(len(message.content) for message in prompt)
        if n_chars > settings.max_prompt_chars:
            raise PromptError(
                wording.LONG_PROMPT.format(number=number, given=n_chars, limit=settings.max_prompt_chars),
                hint=wording.LONG_PROMPT_HINT,
            )
    return plan


def document_of(values: Values, dimensions: Sequence[str]) -> dict[str, Any]:
    """The form as a study's document, unchecked but for its prompts.

    ``dimensions`` are those of the guides, in the order of the form's weights. Rows in which nothing is typed, and
    blends without a name, are left out.

    Raises:
        PromptError: there are no prompts, or the file cannot be used.
    """
    document: dict[str, Any] = {
        "name": str(values["name"] or "").strip(),
        "prompts": _prompts(values),
        "questions": list(_rows(values, "question", N_QUESTIONS, ("dimension", "text"))),
        "overlap": _typed(values["overlap"]),
        "gold": list(_rows(values, "gold", N_GOLD, ("prompt", "right", "wrong"))),
        "gold_share": _share(values["gold_share"]),
        "repeat_share": _share(values["repeat_share"]),
        "order": values["order"],
        "reveal": bool(values["reveal"]),
        "seed": _typed(values["seed"]),
        "consent": str(values["consent"] or ""),
        "publish": _publish(values),
        "sampling": {name: _typed(values[name]) for name in SAMPLING if not _is_unset(name, values[name])},
    }
    if values["compared"] == DRAWN:
        document["ranges"] = dict(_ranges(values, dimensions))
        document["pairs_per_prompt"] = _typed(values["pairs_per_prompt"])
    else:
        document["blends"] = list(_blends(values, dimensions))
    return document


def _prompts(values: Values) -> Any:
    if values["source"] == BUILT_IN_SET:
        return f"{BUILT_IN_PREFIX}{values['built_in']}"
    read = prompts_read(values)
    understood = [prompt_entry(one.prompt) for one in read if one.prompt is not None]
    if not understood:
        assert read[0].refusal is not None, "what was not understood was refused"
        raise read[0].refusal
    return understood


def _publish(values: Values) -> dict[str, object]:
    """The margin counts only where it can be seen."""
    return {"enabled": True, "margin": _typed(values["margin"])} if values["publish"] is True else {"enabled": False}


def _file(sent: object) -> tuple[str, bytes]:
    """Name and content of the file that the browser read; of one that is too large it sends only the size."""
    try:
        found = json.loads(str(sent or "null"))
        name, n_bytes = str(found["name"]), int(found["size"])
        content = b"" if n_bytes > MAX_FILE_BYTES else base64.b64decode(found["content"], validate=True)
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
        raise PromptError(wording.NO_FILE, hint=wording.NO_FILE_HINT) from error
    if max(n_bytes, len(content)) > MAX_FILE_BYTES:
        raise PromptError(
            wording.LARGE_FILE.format(name=name[:100], given=max(n_bytes, len(content)), limit=MAX_FILE_BYTES),
            hint=wording.LARGE_FILE_HINT,
        )
    return name, content


def _rows(values: Values, kind: str, n_rows: int, fields: Sequence[str]) -> Iterator[dict[str, str]]:
    for number in range(1, n_rows + 1):
        row = {field: str(values[f"{kind}-{number}-{field}"] or "").strip() for field in fields}
        if any(row.values()):
            yield row


def _blends(values: Values, dimensions: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number in range(1, N_BLENDS + 1):
        if name := str(values[f"blend-{number}-name"] or "").strip():
            weights = {dimension: values[f"blend-{number}-{dimension}"] for dimension in dimensions}
            # 0 and an empty field both say: without this guide
            yield {"name": name, "weights": {dimension: weight for dimension, weight in weights.items() if weight}}


def _ranges(values: Values, dimensions: Sequence[str]) -> Iterator[tuple[str, list[object]]]:
    for dimension in dimensions:
        ends = [values[f"low-{dimension}"], values[f"high-{dimension}"]]
        if ends != [None, None]:
            yield dimension, ends


def _typed(value: object) -> object:
    """A number as it was typed: 2 is a whole number, however the browser sends it; an empty field is an empty text."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return "" if value is None else value


def _share(percent: object) -> object:
    # Not 0.07 * 100: what is typed as 7 % is 0.07 in the document, too.
    is_number = isinstance(percent, int | float) and not isinstance(percent, bool)
    return round(percent / 100, 6) if is_number else _typed(percent)  # type: ignore[operator]


def _is_unset(name: str, value: object) -> bool:
    return name == "plausibility" and not str(value or "").strip()
