"""A study back into the document a person writes: what the page makes can be made again on the command line."""

import math
from itertools import groupby
from typing import Any

import tomlkit

from steering.types import Role
from storage.records_pairs import Outcome
from storage.records_studies import Study, StudyItem
from storage.study_repository import MAX_PAGE, StudyRepository
from ui.prompt_files import Prompt
from ui.study_files import MAX_PAIRS_PER_PROMPT, GoldPair, StudyPlan


def toml_of(plan: StudyPlan) -> str:
    """The plan as TOML; read again it is the same plan."""
    return tomlkit.dumps(document_of(plan))


def document_of(plan: StudyPlan) -> dict[str, Any]:
    """The plan as a document with every field that a study has; `ui.study_files.study_plan` reads it."""
    settings, sampling = plan.settings, plan.settings.sampling
    prompts, n_pairs = _without_repetition(plan)
    document: dict[str, Any] = {
        "name": plan.name,
        "prompts": [prompt_entry(prompt) for prompt in prompts],
        "overlap": settings.overlap,
        "gold_share": settings.gold_share,
        "repeat_share": settings.repeat_share,
        "order": settings.ordering.value,
        "reveal": settings.reveals,
        "seed": settings.seed,
        "consent": settings.consent,
        "questions": [{"dimension": one.dimension, "text": one.text} for one in settings.questions],
    }
    if settings.ranges:
        document["pairs_per_prompt"] = n_pairs
        document["ranges"] = {dimension: list(ends) for dimension, ends in settings.ranges.items()}
    else:
        document["blends"] = [{"name": blend.key, "weights": dict(blend.weights)} for blend in settings.blends]
    names = ("temperature", "top_k", "top_p", "min_p", "max_new_tokens")
    document["sampling"] = {name: getattr(sampling, name) for name in names}
    if sampling.plausibility is not None:
        document["sampling"]["plausibility"] = sampling.plausibility
    document["publish"] = {"enabled": settings.publish.enabled, "margin": settings.publish.margin}
    if plan.gold:
        document["gold"] = [_gold_entry(gold) for gold in plan.gold]
    return document


def stored_plan(studies: StudyRepository, study: Study) -> StudyPlan:
    """The plan that a stored study was made from, gold items included.

    Raises:
        StorageError: the database cannot be read.
    """
    gold: list[GoldPair] = []
    last = ""
    while page := studies.items(study.id, last, MAX_PAGE):
        for item in page:
            gold += _gold_pairs(study, item)
        last = page[-1].id
    return StudyPlan(study.name, study.settings, tuple(gold))


def prompt_entry(prompt: Prompt) -> Any:
    """A prompt as it stands in a document: a text, or messages where there is more than what one person says."""
    if len(prompt) == 1 and prompt[0].role is Role.USER:
        return prompt[0].content
    return [{"role": message.role.value, "content": message.content} for message in prompt]


def _without_repetition(plan: StudyPlan) -> tuple[tuple[Prompt, ...], int]:
    """The prompts as they were written down, and how many pairs of blends are drawn for each."""
    prompts = plan.settings.prompts
    if not plan.settings.ranges:
        return prompts, 1
    n_pairs = math.gcd(*(len(list(same)) for _, same in groupby(prompts)))
    if n_pairs > MAX_PAIRS_PER_PROMPT:
        return prompts, 1
    return prompts[::n_pairs], n_pairs


def _gold_entry(gold: GoldPair) -> dict[str, Any]:
    return {
        "prompt": prompt_entry(gold.prompt),
        "right": gold.right,
        "wrong": gold.wrong,
        "dimensions": list(gold.dimensions),
    }


def _gold_pairs(study: Study, item: StudyItem) -> list[GoldPair]:
    """The written pair of a gold item, whose response A is the right one; none of any other item."""
    right, wrong = item.comparison.left, item.comparison.right
    dimensions = tuple(name for name in study.settings.dimensions if item.gold.get(name) is Outcome.A)
    return [GoldPair(right.messages, right.text, wrong.text, dimensions)] if dimensions else []
