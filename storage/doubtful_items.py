"""How uncertain the ranking is at each item of a study, kept for a while because judges ask after every judgement."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage.analysis.uncertainty import BlendPair, PairKeys, doubts
from storage.records_pairs import PairFilter
from storage.records_studies import Study
from storage.study_repository import ResultsRepository

KEPT_SECONDS = 5.0
REST = 20
"""Working it out anew takes at most one part in so many of the time of the process."""
MAX_STUDIES = 100

logger = logging.getLogger(__name__)


@dataclass
class _Kept:
    """What is known of one study. ``pairs`` only change in number: while the study is written, items are added."""

    pairs: Mapping[str, BlendPair] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    good_until: float = -1.0
    is_worked_on: bool = False


class DoubtfulItems:
    """Item scores for ``StudyRepository.next_assignment``. Safe in threads; nobody waits for another's reading."""

    def __init__(self, results: ResultsRepository, clock: Callable[[], float] = time.monotonic) -> None:
        self._results = results
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def scores(self, study: Study) -> Mapping[str, float]:
        """The doubt at each regular item of a study, from 0 to 0.5; up to some seconds old.

        Where it cannot be worked out, the last ones: what is asked next is then less well chosen, and nobody's
        judgement is refused for that.
        """
        with self._lock:
            if study.id not in self._kept and len(self._kept) >= MAX_STUDIES:
                self._kept.clear()
            kept = self._kept.setdefault(study.id, _Kept())
            if kept.is_worked_on or self._clock() < kept.good_until:
                return kept.scores
            kept.is_worked_on = True
        started = self._clock()
        try:
            self._work_out(study, kept)
        except Exception:  # whatever it is, it must not stand between a judge and a save
            logger.exception("the ranking of study %s was not worked out anew", study.id)
        finally:
            now = self._clock()
            kept.good_until = now + max(KEPT_SECONDS, REST * (now - started))
            kept.is_worked_on = False
        return kept.scores

    def _work_out(self, study: Study, kept: _Kept) -> None:
        if len(kept.pairs) != self._results.n_items(study.id):
            kept.pairs = self._results.blends_of_items(study.id)
        counts = self._results.outcome_counts(PairFilter(study_ids=(study.id,)))
        by_pair: dict[PairKeys, float] = doubts(counts, kept.pairs.values(), study.settings.dimensions)
        kept.scores = {item_id: by_pair[(first.key, second.key)] for item_id, (first, second) in kept.pairs.items()}
