"""How much work a study is before it is made: comparisons, answers, judgements, and the time its answers take."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from storage.records_studies import StudySettings
from ui.runs import SteerEngine
from ui.studies import n_comparisons, request_of

PROBE_TOKENS = 16
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Size:
    """Counts without gold items and repetitions; ``n_asked`` is in items and has them, as their shares say."""

    n_prompts: int
    n_comparisons: int
    n_answers: int
    n_judgements: int
    n_asked: int


def size_of(settings: StudySettings) -> Size:
    """What a study comes to; a prompt for which several pairs of blends are drawn counts once for each."""
    n_answers = len(settings.prompts) * (len(settings.blends) or 2)
    n_items = n_comparisons(settings) * settings.overlap
    regular_share = 1 - settings.gold_share - settings.repeat_share
    n_asked = round(n_items / regular_share) if regular_share > 0 else n_items
    n_judgements = n_items * len(settings.questions)
    return Size(len(settings.prompts), n_comparisons(settings), n_answers, n_judgements, n_asked)


def seconds_to_write(
    engine: SteerEngine, settings: StudySettings, owner: str, clock: Callable[[], float] = time.monotonic
) -> float:
    """Seconds that all answers take if each is as long as it may be, from the first tokens of the first prompt's.

    Raises:
        InputError: the first prompt is too long, or a blend names a dimension without a guide.
        CapacityError: memory has run out, or too many requests are waiting.
    """
    began = clock()
    first = last = (began, 0)
    with closing(engine.compare(request_of(settings, 0), lambda: False, owner)) as reports:
        for report in reports:
            now = clock()
            if report.position:
                began = now  # waiting for others is no work
            elif report.n_tokens:
                last = (now, report.n_tokens)
                first = last if not first[1] else first
            if report.finished or report.n_tokens >= PROBE_TOKENS or now - began > PROBE_SECONDS:
                break
    n_between = last[1] - first[1]
    per_token = (last[0] - first[0]) / n_between if n_between else 0.0
    return len(settings.prompts) * (first[0] - began + per_token * settings.sampling.max_new_tokens)
