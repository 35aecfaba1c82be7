"""Truncation against transformers' own logits processors; draws against the distribution they come from."""

import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steering.noise import gumbel_noise, seed_keys, token_keys
from steering.sampling import draw, truncate

V = 50


def random_scores(seed: int, n_rows: int = 1) -> torch.Tensor:
    return torch.randn(n_rows, V, generator=torch.Generator().manual_seed(seed)) * 2


def noise(seeds: torch.Tensor, positions: torch.Tensor, vocabulary_size: int = V) -> torch.Tensor:
    return gumbel_noise(seed_keys(seeds), positions, token_keys(vocabulary_size, torch.device("cpu")))


def controls(temperature: float, top_k: int, top_p: float, min_p: float, n_rows: int = 1) -> tuple[torch.Tensor, ...]:
    return (
        torch.full((n_rows,), temperature),
        torch.full((n_rows,), top_k),
        torch.full((n_rows,), top_p),
        torch.full((n_rows,), min_p),
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 0.9, 0.0), (5, 1.0, 0.0), (0, 1.0, 0.1), (10, 0.8, 0.05), (1, 0.5, 0.5), (0, 0.01, 0.0), (V + 9, 0.95, 0.0)],
)
def test_the_kept_tokens_are_those_transformers_keeps(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    for seed in range(20):
        scores = random_scores(seed)
        expected = TemperatureLogitsWarper(temperature)(None, scores)
        if top_k:
            expected = TopKLogitsWarper(min(top_k, V))(None, expected)
        if top_p < 1:
            expected = TopPLogitsWarper(top_p)(None, expected)
        if min_p:
            expected = MinPLogitsWarper(min_p)(None, expected)
        kept = truncate(scores, *controls(temperature, top_k, top_p, min_p))
        assert torch.equal(kept == -torch.inf, expected == -torch.inf)
        assert torch.equal(kept[kept > -torch.inf], scores[kept > -torch.inf])


def test_rows_with_different_settings_do_not_mix() -> None:
    scores = random_scores(3, n_rows=3)
    together = truncate(
        scores,
        torch.tensor([1.0, 0.5, 2.0]),
        torch.tensor([0, 3, 0]),
        torch.tensor([0.9, 1.0, 1.0]),
        torch.tensor([0.0, 0.0, 0.2]),
    )
    alone = [
        truncate(scores[i : i + 1], *controls(*settings))
        for i, settings in enumerate([(1.0, 0, 0.9, 0.0), (0.5, 3, 1.0, 0.0), (2.0, 0, 1.0, 0.2)])
    ]
    assert torch.equal(together, torch.cat(alone))


def test_tokens_that_tie_with_the_last_kept_one_stay() -> None:
    scores = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]])
    kept = truncate(scores, *controls(1.0, 2, 1.0, 0.0))
    assert (kept[0] > -torch.inf).tolist() == [True, True, True, True, False]


def test_masked_tokens_stay_masked() -> None:
    scores = random_scores(1)
    scores[0, 10:] = -torch.inf
    kept = truncate(scores, *controls(1.0, 20, 0.999, 0.0))
    assert (kept[0, 10:] == -torch.inf).all()


def test_temperature_zero_takes_the_likeliest_token() -> None:
    scores = random_scores(4, n_rows=8)
    seeds, positions = torch.arange(8), torch.arange(8)
    assert torch.equal(draw(scores, torch.zeros(8), noise(seeds, positions)), scores.argmax(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature: float) -> None:
    scores = torch.tensor([1.0, 0.5, 0.0, -1.0, -2.0, -torch.inf])
    n = 20_000
    tokens = draw(scores, torch.full((n,), temperature), noise(torch.arange(n), torch.full((n,), 17), 6))
    counts = torch.bincount(tokens, minlength=6).double()
    expected = (scores / temperature).softmax(-1).double() * n
    assert counts[5] == 0
    chi_square = ((counts[:5] - expected[:5]) ** 2 / expected[:5]).sum().item()
    assert chi_square < 23.5  # 4 degrees of freedom, one in ten thousand


def test_a_small_change_of_scores_rarely_changes_the_token() -> None:
    """Common random numbers: with the same noise, only tokens near a tie change."""
    scores = random_scores(9, n_rows=2000)
    nudged = scores + 0.01 * random_scores(10, n_rows=2000)
    ones, gumbel = torch.ones(2000), noise(torch.arange(2000), torch.zeros(2000, dtype=torch.int64))
    same = draw(scores, ones, gumbel) == draw(nudged, ones, gumbel)
    assert same.float().mean() > 0.95
