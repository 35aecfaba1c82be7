"""A study as a person writes it down: a TOML document, checked field by field."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steering.errors import InputError, SettingsError
from steering.types import SamplingSettings
from storage.records import MAX_NAME_CHARS, check_text
from storage.records_pairs import NamedBlend, Outcome
from storage.records_publishing import OFF, Publishing
from storage.records_studies import Ordering, Question, StudySettings
from ui.prompt_files import BUILT_IN_PREFIX, Prompt, built_in_prompts, prompt_of, read_prompts

MAX_PAIRS_PER_PROMPT = 1000
SEE_DOCS = "docs/studies.md explains every field."

_Number = (int, float)
_STUDY = {
    "name": str,
    "prompts": (str, list),
    "questions": list,
    "blends": list,
    "ranges": dict,
    "pairs_per_prompt": int,
    "sampling": dict,
    "overlap": int,
    "gold": list,
    "gold_share": _Number,
    "repeat_share": _Number,
    "consent": str,
    "reveal": bool,
    "order": str,
    "seed": int,
    "publish": dict,
}
_QUESTION = {"dimension": str, "text": str}
_BLEND = {"name": str, "weights": dict}
_SAMPLING = {
    "temperature": _Number,
    "top_k": int,
    "top_p": _Number,
    "min_p": _Number,
    "max_new_tokens": int,
    "plausibility": _Number,
}
_GOLD = {"prompt": (str, list), "right": str, "wrong": str, "dimensions": list}
_PUBLISH = {"enabled": bool, "margin": _Number}
_SAME = {
    "overlap": "overlap",
    "gold_share": "gold_share",
    "repeat_share": "repeat_share",
    "consent": "consent",
    "reveal": "reveals",
    "seed": "seed",
}
_WORDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    _Number: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    (str, list): "a text or a list",
}


@dataclass(frozen=True)
class GoldPair:
    """Two answers written by a person, of which one is right in the ``dimensions``: it checks annotators."""

    prompt: Prompt
    right: str
    wrong: str
    dimensions: tuple[str, ...]

    @property
    def answers(self) -> Mapping[str, Outcome]:
        """The right outcome by dimension; response A is the right one."""
        return dict.fromkeys(self.dimensions, Outcome.A)


@dataclass(frozen=True)
class StudyPlan:
    """What a study document asks for."""

    name: str
    settings: StudySettings
    gold: tuple[GoldPair, ...] = ()


def read_study(path: Path) -> StudyPlan:
    """The study that a TOML file describes; files of prompts are looked for beside it.

    Raises:
        SettingsError: it cannot be read, or a field is missing, unknown or wrong; the message names line or field.
        PromptError: a prompt cannot be used, or its file.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"The study {path} cannot be read: {reason}.", hint=SEE_DOCS) from error
    with _named(path.name):
        return study_plan(document, path.parent)


def study_plan(document: Mapping[str, Any], folder: Path) -> StudyPlan:
    """The study that a document describes; ``folder`` is where its files of prompts are.

    Raises:
        SettingsError: a field is missing, unknown or wrong; the message names it.
        PromptError: a prompt cannot be used, or its file.
    """
    study = _table(document, "", _STUDY, required=("name", "prompts", "questions"))
    with _named("name"):
        check_text("name of the study", study["name"], 1, MAX_NAME_CHARS)
    questions = []
    for where, entry in _entries(study, "questions"):
        table = _table(entry, where, _QUESTION, required=tuple(_QUESTION))
        with _named(where):
            questions.append(Question(**table))
    settings = StudySettings(
        prompts=_prompts(study, folder),
        questions=tuple(questions),
        blends=tuple(_blend(where, entry) for where, entry in _entries(study, "blends")),
        ranges={
            dimension: _range(f"ranges.{dimension}", value) for dimension, value in study.get("ranges", {}).items()
        },
        sampling=_sampling(study),
        ordering=_ordering(study),
        publish=_publish(study),
        **{field: study[name] for name, field in _SAME.items() if name in study},
    )
    _check_reveal(settings)
    gold = tuple(_gold(where, entry, settings) for where, entry in _entries(study, "gold"))
    if bool(gold) != (settings.gold_share > 0):
        raise SettingsError(
            f"There are {len(gold)} gold items, and gold_share is {settings.gold_share:g}.",
            hint="Give both: [[gold]] and the share of them in what each annotator is asked, such as 0.1.",
        )
    return StudyPlan(study["name"], settings, gold)


def _check_reveal(settings: StudySettings) -> None:
    """Refuse to tell whose an answer was where the same answer comes again."""
    if not settings.reveals:
        return
    if settings.repeat_share > 0:
        raise SettingsError(
            f"reveal is true, and repeat_share is {settings.repeat_share:g}: who is asked again would have been told.",
            hint="Leave out one of the two.",
        )
    if len(settings.blends) > 2:
        raise SettingsError(
            f"reveal is true, and there are {len(settings.blends)} blends: each answer stands in several comparisons, "
            "and the first one would tell whose it is in the others.",
            hint="Compare two blends, or leave out reveal.",
        )


def _prompts(study: Mapping[str, Any], folder: Path) -> tuple[Prompt, ...]:
    given = study["prompts"]
    if isinstance(given, str) and given.startswith(BUILT_IN_PREFIX):
        prompts = built_in_prompts(given.removeprefix(BUILT_IN_PREFIX))
    elif isinstance(given, str):
        prompts = read_prompts(_beside(folder, given))
    else:
        prompts = tuple(prompt_of(where, value) for where, value in _entries(study, "prompts"))
    n_pairs = study.get("pairs_per_prompt", 1)
    if "pairs_per_prompt" in study and "ranges" not in study:
        raise SettingsError(
            "pairs_per_prompt is given, but no ranges.",
            hint="Of a list of blends every two are compared for each prompt.",
        )
    if not 1 <= n_pairs <= MAX_PAIRS_PER_PROMPT:
        raise SettingsError(
            f"pairs_per_prompt is {n_pairs}; it must be from 1 to {MAX_PAIRS_PER_PROMPT}.", hint="Use, say, 3."
        )
    # Blends that are drawn are drawn once for each prompt of a study, so a prompt stands there once for each pair.
    return tuple(prompt for prompt in prompts for _ in range(n_pairs))


def _beside(folder: Path, name: str) -> Path:
    """The file of that name in the folder; a study that somebody else wrote reads no other files of this machine."""
    if Path(name).name != name:
        raise SettingsError(
            f"prompts is {name!r}; it must be the name of a file beside the study's, without a folder.",
            hint="Put the file there.",
        )
    return folder / name


def _blend(where: str, entry: Any) -> NamedBlend:
    table = _table(entry, where, _BLEND, required=("weights",))
    weights = _table(table["weights"], f"{where}.weights", dict.fromkeys(table["weights"], _Number))
    with _named(where):
        return NamedBlend(table["name"], weights) if "name" in table else NamedBlend.of(weights)


def _range(where: str, value: Any) -> tuple[float, float]:
    ends = value if isinstance(value, list) else []
    if len(ends) != 2 or not all(_is(end, _Number) for end in ends):
        raise SettingsError(
            f"{where} is {value!r}; it must be the lowest and the highest weight.", hint="Write, say, [0, 3]."
        )
    return float(ends[0]), float(ends[1])


def _sampling(study: Mapping[str, Any]) -> SamplingSettings:
    table = _table(study.get("sampling", {}), "sampling", _SAMPLING)
    with _named("sampling"):
        return SamplingSettings(**table)


def _ordering(study: Mapping[str, Any]) -> Ordering:
    given, known = study.get("order", Ordering.FEWEST.value), [ordering.value for ordering in Ordering]
    if given not in known:
        raise SettingsError(f"order is {given!r}; it must be one of {', '.join(known)}.", hint=SEE_DOCS)
    return Ordering(given)


def _publish(study: Mapping[str, Any]) -> Publishing:
    if "publish" not in study:
        return OFF
    table = _table(study["publish"], "publish", _PUBLISH, required=("enabled",))
    with _named("publish"):
        return Publishing(**table)


def _gold(where: str, entry: Any, settings: StudySettings) -> GoldPair:
    table = _table(entry, where, _GOLD, required=("prompt", "right", "wrong"))
    dimensions = tuple(table.get("dimensions", settings.dimensions))
    for dimension in dimensions:
        if dimension not in settings.dimensions:
            raise SettingsError(
                f"{where}.dimensions names {dimension!r}, which the study does not ask.",
                hint=f"It asks about: {', '.join(settings.dimensions)}.",
            )
    if not dimensions or table["right"] == table["wrong"]:
        what = "both answers are the same" if dimensions else "dimensions is empty"
        raise SettingsError(f"{where}: {what}.", hint="A gold item has one answer that is right in a dimension.")
    with _named(where):
        for name in ("right", "wrong"):
            check_text(name, table[name], 1, nul_allowed=True)
    return GoldPair(prompt_of(f"{where}.prompt", table["prompt"]), table["right"], table["wrong"], dimensions)


def _entries(study: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """What stands in a list, each with its name in messages: the first is number 1."""
    for number, entry in enumerate(study.get(name, ()), start=1):
        yield f"{name}[{number}]", entry


def _table(value: Any, where: str, kinds: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The table, with no unknown field, nothing of the wrong kind, and what is required."""
    if not isinstance(value, Mapping):
        raise SettingsError(f"{where} is {value!r}; it must be a table.", hint=SEE_DOCS)
    before = f"{where}." if where else ""
    for name, entry in value.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"Did you mean {before}{near[0]}? " if near else ""
            raise SettingsError(f"There is no field {before}{name}.", hint=hint + SEE_DOCS)
        if not _is(entry, kinds[name]):
            raise SettingsError(f"{before}{name} is {entry!r}; it must be {_WORDS[kinds[name]]}.", hint=SEE_DOCS)
    for name in required:
        if name not in value:
            raise SettingsError(f"{before}{name} is missing.", hint=SEE_DOCS)
    return dict(value)


def _is(value: Any, kind: Any) -> bool:
    # To Python true is a whole number.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in the message of an error where it stands."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{where}: {error.message}", hint=error.hint) from error
