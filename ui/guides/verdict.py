"""Whether a new version is better than the old one, and whether it may be published without anybody's word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.guides import GuideCard
from storage.records_publishing import DEFAULT_MARGIN_NATS
from ui.guides.assess import NEW, OLD

SIGNIFICANT = 0.05
CHANCE = 0.5


@dataclass(frozen=True)
class Verdict:
    """``is_better``: with 95 % confidence, on held-out pairs. ``worse`` are other dimensions beyond the margin.

    ``margin`` is by how much, in nats per token, their reward may fall at weight 1.
    """

    is_better: bool
    worse: tuple[str, ...]
    is_known: bool = True
    margin: float = DEFAULT_MARGIN_NATS

    @property
    def may_publish(self) -> bool:
        """Whether the gate holds."""
        return self.is_known and self.is_better and not self.worse


def verdict_of(assessed: Mapping[str, Any], card: GuideCard, margin: float = DEFAULT_MARGIN_NATS) -> Verdict:
    """What an assessment says of the new version, whose card this is; an empty one says nothing.

    Without an old version the new one is better where its interval is above chance. A dimension of which there is a
    reward with the old version only, or whose reward is no number, is worse.
    """
    if not assessed:
        return Verdict(is_better=False, worse=(), is_known=False, margin=margin)
    pairs, prompts = assessed["pairs"], assessed["prompts"]
    if assessed["old"] is None:
        is_better = float(card.metrics.get("low", 0.0)) > CHANCE
    elif not pairs["n_pairs"]:
        is_better = False
    else:
        is_better = pairs["p_value"] < SIGNIFICANT and pairs["n_only_new"] > pairs["n_only_old"]
    old, new = prompts[OLD]["rewards"], prompts[NEW]["rewards"]
    others = [name for name in new if name not in (OLD, NEW)]
    known = [name for name in others if old[name] is not None]
    # not "new < …", which is false where either is no number
    worse = [name for name in known if new[name] is None or not new[name] >= old[name] - margin]
    return Verdict(is_better, tuple(worse), margin=margin)
