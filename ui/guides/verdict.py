"""Whether a new version is better than the old one, and whether it may be published without anybody's word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.guides import GuideCard
from ui.guides.assess import NEW, OLD

SIGNIFICANT = 0.05
MARGIN_NATS = 0.10
"""By so much, per token, may the reward of another dimension fall at weight 1."""
CHANCE = 0.5


@dataclass(frozen=True)
class Verdict:
    """``is_better``: with 95 % confidence, on held-out pairs. ``worse`` are other dimensions beyond the margin."""

    is_better: bool
    worse: tuple[str, ...]
    is_known: bool = True

    @property
    def may_publish(self) -> bool:
        """Whether the gate holds."""
        return self.is_known and self.is_better and not self.worse


def verdict_of(assessed: Mapping[str, Any], card: GuideCard) -> Verdict:
    """What an assessment says of the new version, whose card this is; an empty one says nothing.

    Without an old version the new one is better where its interval is above chance.
    """
    if not assessed:
        return Verdict(is_better=False, worse=(), is_known=False)
    pairs, prompts = assessed["pairs"], assessed["prompts"]
    if assessed["old"] is None:
        is_better = float(card.metrics.get("low", 0.0)) > CHANCE
    elif not pairs["n_pairs"]:
        is_better = False
    else:
        is_better = pairs["p_value"] < SIGNIFICANT and pairs["n_only_new"] > pairs["n_only_old"]
    old, new = prompts[OLD]["rewards"], prompts[NEW]["rewards"]
    others = [name for name in new if name not in (OLD, NEW)]
    known = [name for name in others if old[name] is not None and new[name] is not None]
    return Verdict(is_better, tuple(name for name in known if new[name] < old[name] - MARGIN_NATS))
