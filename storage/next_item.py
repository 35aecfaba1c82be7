"""What an annotator is asked next: pure functions of what was asked so far. No number here is ever drawn twice."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from storage.records_studies import ItemRole, Ordering

RESERVED_FOR = timedelta(minutes=30)
"""So long an item that was given to somebody counts as answered, so that two do not work on the last one."""

REPEAT_GAP = 5
"""So many items lie between an item and its repetition, so that the annotator does not answer from memory."""


@dataclass(frozen=True)
class Rules:
    """What of a study's settings decides what is asked next and when an item is answered."""

    dimensions: frozenset[str]
    overlap: int
    gold_share: float
    repeat_share: float
    ordering: Ordering
    seed: int
    consent: str
    reveals: bool


@dataclass(frozen=True)
class Given:
    """How many items an annotator was given so far, by role."""

    n_regular: int = 0
    n_gold: int = 0
    n_repeat: int = 0

    @property
    def n_items(self) -> int:
        """All of them; the position of the next one."""
        return self.n_regular + self.n_gold + self.n_repeat


@dataclass(frozen=True)
class Candidate:
    """A regular item that could be asked; ``n_answers`` counts those that are being given, too."""

    item_id: str
    n_answers: int


def roles_due(rules: Rules, annotator_id: str, given: Given) -> tuple[ItemRole, ...]:
    """The roles to try, in turn, for the annotator's next item.

    As long as there are enough of them, gold items are never more than one away from their share of what was given, and
    repetitions three; where exactly they come is as good as random, so that nobody learns to expect them.
    """
    due = []
    shares = ((ItemRole.GOLD, rules.gold_share, given.n_gold), (ItemRole.REPEAT, rules.repeat_share, given.n_repeat))
    for role, share, n_given in shares:
        lacking = share * (given.n_items + 1) - n_given
        if lacking > _fraction(rules.seed, annotator_id, role, given.n_items):
            due.append(role)
    return (*due, ItemRole.REGULAR)


def n_left(rules: Rules, *, n_answered: int, n_open: int, n_regular: int, n_unasked: int, n_gold: int) -> int:
    """About how many items are left for an annotator; one less with every answer.

    Counting what is there, the number would stay as it is whenever a gold item or a repetition is laid before them, and
    tell them which these are. So the gold items and repetitions that are to come are counted, by their shares.

    Args:
        rules: of the study.
        n_answered: items of all roles that they have answered.
        n_open: items of all roles that they were given and have not answered.
        n_regular: regular items they were given.
        n_unasked: regular items that they could still be given.
        n_gold: gold items of the study.
    """
    if not n_open + n_unasked:
        return 0
    regular = n_regular + n_unasked
    shares = 1 - rules.gold_share - rules.repeat_share
    n_items = regular / shares if shares > 0 else math.inf
    if rules.gold_share * n_items > n_gold:  # they run out
        n_items = (regular + n_gold) / (1 - rules.repeat_share) if rules.repeat_share < 1 else regular + n_gold
    return max(round(n_items) - n_answered, n_open, 1)


def choose_regular(
    rules: Rules, annotator_id: str, candidates: Iterable[Candidate], uncertainty: Mapping[str, float] | None = None
) -> str | None:
    """The regular item to ask: of those with too few answers one with the fewest, see ``StudyRepository``."""
    by_uncertainty = uncertainty if uncertainty is not None and rules.ordering is Ordering.UNCERTAIN else {}
    wanting = [candidate for candidate in candidates if candidate.n_answers < rules.overlap]
    n_fewest = min((candidate.n_answers for candidate in wanting), default=0)
    least = [candidate.item_id for candidate in wanting if candidate.n_answers == n_fewest]
    most = max((by_uncertainty.get(item_id, 0.0) for item_id in least), default=0.0)
    return choose_any(rules, annotator_id, (each for each in least if by_uncertainty.get(each, 0.0) == most))


def choose_any(rules: Rules, annotator_id: str, item_ids: Iterable[str]) -> str | None:
    """The first of the items in the annotator's own order; for gold items and repetitions."""
    return min(item_ids, key=lambda item_id: _fraction(rules.seed, annotator_id, item_id), default=None)


def _fraction(*parts: object) -> float:
    """A number in [0, 1) that the parts fix, and that tells nothing of another's."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48
