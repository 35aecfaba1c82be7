"""What a guide says of held-out pairs: accuracy with its interval, by source and length, calibration, length bias."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from models.training.batches import Example, Layout, batch_logprobs, collate

_Z95 = 1.959963984540054
_N_BINS = 10


@dataclass(frozen=True)
class Scored:
    """A held-out pair with the summed log-probs of its responses and their tokens."""

    source: str
    chosen: float
    rejected: float
    n_chosen: int
    n_rejected: int

    @property
    def margin(self) -> float:
        """By how many nats the chosen response is the likelier one."""
        return self.chosen - self.rejected

    @property
    def won(self) -> float:
        """1 where the guide agrees with the label, ½ where it cannot tell, else 0."""
        return 0.5 if self.margin == 0 else float(self.margin > 0)


@torch.no_grad()
def score_pairs(
    model: nn.Module, head: nn.Module, pairs: Sequence[Example], layout: Layout, pad_token_id: int, batch_size: int
) -> list[Scored]:
    """Score pairs in batches of similar length; returns them in the order given. The model's mode is left as it was."""
    parameter = next(model.parameters())
    was_training, _ = model.training, model.eval()
    order = sorted(range(len(pairs)), key=lambda index: pairs[index].n_tokens(layout))
    scored: dict[int, Scored] = {}
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        batch = collate([pairs[index] for index in indices], layout, pad_token_id)
        batch = {name: value.to(parameter.device) for name, value in batch.items()}
        rewards = batch_logprobs(model, head, batch, layout).view(-1, 2).tolist()
        for index, (chosen, rejected) in zip(indices, rewards, strict=True):
            pair = pairs[index]
            n_chosen, n_rejected = map(len, pair.responses)
            scored[index] = Scored(pair.source, chosen, rejected, n_chosen, n_rejected)
    model.train(was_training)
    return [scored[index] for index in range(len(pairs))]


def wilson(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of n (Wilson 1927)."""
    if not n:
        return 0.0, 1.0
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 / (1 + _Z95**2 / n) * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def accuracy(scored: Sequence[Scored]) -> dict[str, Any]:
    """Return the share of pairs the guide agrees with, its interval, and how many pairs there are."""
    n = len(scored)
    share = sum(pair.won for pair in scored) / n if n else None
    low, high = wilson(share or 0.0, n)
    return {"accuracy": share, "low": low, "high": high, "n_pairs": n}


def metrics(scored: Sequence[Scored], beta: float) -> dict[str, Any]:
    """Return what the card says of the held-out pairs; every figure is a plain number, or None where there is none.

    ``calibration_error``: how far σ(beta · margin) is from how often the guide is right, over ten bins of confidence
    weighted by their pairs (expected calibration error, Guo et al. 2017, eq. 3). ``longer_wins``: the accuracy of
    preferring the longer response.
    """
    sources = sorted({pair.source for pair in scored})
    buckets = {"chosen_longer": [1.2, math.inf], "about_equal": [1 / 1.2, 1.2], "chosen_shorter": [0.0, 1 / 1.2]}
    rewards = [beta * value for pair in scored for value in (pair.chosen, pair.rejected)]
    lengths = [n for pair in scored for n in (pair.n_chosen, pair.n_rejected)]
    return {
        **accuracy(scored),
        "by_source": {source: accuracy([pair for pair in scored if pair.source == source]) for source in sources},
        "by_length": {
            name: accuracy([pair for pair in scored if low <= pair.n_chosen / pair.n_rejected < high])
            for name, (low, high) in buckets.items()
        },
        "longer_wins": _longer_wins(scored),
        "calibration_error": calibration_error(scored, beta),
        "mean_loss": mean_loss(scored, beta),
        "reward_length_correlation": correlation(rewards, lengths),
        "margin_length_correlation": correlation(
            [pair.margin for pair in scored], [pair.n_chosen - pair.n_rejected for pair in scored]
        ),
    }


def mean_loss(scored: Sequence[Scored], beta: float) -> float | None:
    """Return the mean of −log σ(beta · margin)."""
    margins = torch.tensor([beta * pair.margin for pair in scored], dtype=torch.float64)
    return float(-F.logsigmoid(margins).mean()) if scored else None


def calibration_error(scored: Sequence[Scored], beta: float) -> float | None:
    """Return the expected calibration error; see :func:`metrics`."""
    bins: list[list[tuple[float, float]]] = [[] for _ in range(_N_BINS)]
    for pair in scored:
        confidence = 1 / (1 + math.exp(-min(beta * abs(pair.margin), 700)))
        bins[min(int((confidence - 0.5) * 2 * _N_BINS), _N_BINS - 1)].append((confidence, pair.won))
    gaps = [abs(sum(c for c, _ in each) - sum(w for _, w in each)) for each in bins if each]
    return sum(gaps) / len(scored) if scored else None


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Pearson's correlation, or None where one side does not vary."""
    x, y = (torch.tensor(list(values), dtype=torch.float64) for values in (xs, ys))
    if len(x) < 2:
        return None
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else None


def _longer_wins(scored: Sequence[Scored]) -> float | None:
    won = [0.5 if pair.n_chosen == pair.n_rejected else float(pair.n_chosen > pair.n_rejected) for pair in scored]
    return sum(won) / len(won) if won else None
