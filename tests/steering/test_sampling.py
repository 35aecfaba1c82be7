"""Truncation against transformers' own logits processors; draws against the distribution they come from."""

import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steering.controls import Controls, Place, Slot
from steering.noise import token_keys
from steering.sampling import draw, truncate
from steering.types import SamplingSettings

V = 50


def random_scores(seed: int, n_rows: int = 1) -> torch.Tensor:
    return torch.randn(n_rows, V, generator=torch.Generator().manual_seed(seed)) * 2


def controls(*settings: SamplingSettings, vocabulary_size: int = V) -> Controls:
    made = Controls(len(settings), 0, 0, token_keys(vocabulary_size, torch.device("cpu")))
    made.load([Place(Slot(1.0, (), setting), 17, 0, 1) for setting in settings], [])
    return made


def kept_ids(scores: torch.Tensor, *settings: SamplingSettings) -> list[set[int]]:
    """The tokens left in the draw, by row; their scores must be unchanged."""
    kept, ids = truncate(scores, controls(*settings, vocabulary_size=scores.shape[-1]))
    inside = kept > -torch.inf
    assert torch.equal(kept[inside], scores.gather(-1, ids)[inside])
    return [set(row[mask].tolist()) for row, mask in zip(ids, inside, strict=True)]


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
        settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        assert kept_ids(scores, settings) == [set((expected[0] > -torch.inf).nonzero()[:, 0].tolist())]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
def test_a_large_vocabulary_keeps_what_transformers_keeps_whether_peaked_or_flat(temperature: float) -> None:
    """The likeliest 512 tokens are looked at first; at temperature 10 the cut lies far behind them."""
    scores = torch.randn(2, 5000, generator=torch.Generator().manual_seed(1)) * 3
    for settings in (
        SamplingSettings(temperature=temperature, top_p=0.95),
        SamplingSettings(temperature=temperature, top_p=1.0, top_k=700),
        SamplingSettings(temperature=temperature, top_p=0.9, top_k=600, min_p=0.001),
    ):
        expected = TopPLogitsWarper(settings.top_p)(
            None, TopKLogitsWarper(settings.top_k or 5000)(None, scores / settings.temperature)
        )
        if settings.min_p:
            expected = MinPLogitsWarper(settings.min_p)(None, expected)
        for ours, row in zip(kept_ids(scores, settings, settings), expected, strict=True):
            theirs = set((row > -torch.inf).nonzero()[:, 0].tolist())
            # fp32 sums of thousands of small masses, taken from the other end, may part by the token at the cut
            assert len(ours ^ theirs) <= 1, (len(ours), len(theirs))


def test_rows_with_different_settings_do_not_mix() -> None:
    scores = random_scores(3, n_rows=3)
    settings = [
        SamplingSettings(temperature=1.0, top_p=0.9),
        SamplingSettings(temperature=0.5, top_p=1.0, top_k=3),
        SamplingSettings(temperature=2.0, top_p=1.0, min_p=0.2),
    ]
    alone = [kept_ids(scores[i : i + 1], setting)[0] for i, setting in enumerate(settings)]
    assert kept_ids(scores, *settings) == alone


def test_tokens_that_tie_with_the_last_kept_one_stay() -> None:
    scores = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]])
    assert kept_ids(scores, SamplingSettings(temperature=1.0, top_p=1.0, top_k=2)) == [{0, 1, 2, 3}]


def test_masked_tokens_stay_masked() -> None:
    scores = random_scores(1)
    scores[0, 10:] = -torch.inf
    assert kept_ids(scores, SamplingSettings(temperature=1.0, top_p=0.999, top_k=20))[0] <= set(range(10))


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_temperature_zero_takes_the_likeliest_token_also_beside_sampled_slots(top_p: float) -> None:
    scores = random_scores(4, n_rows=8)
    greedy = [SamplingSettings(temperature=0.0, top_p=top_p, seed=n) for n in range(8)]
    assert torch.equal(draw(scores, controls(*greedy))[0][:, 0], scores.argmax(-1))
    mixed = [*greedy[:7], SamplingSettings(temperature=2.0, top_p=top_p)]
    assert torch.equal(draw(scores, controls(*mixed))[0][:7, 0], scores.argmax(-1)[:7])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [0, 3])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature: float, top_k: int) -> None:
    scores = torch.tensor([1.0, 0.5, 0.0, -1.0, -2.0, -torch.inf])
    n = 20_000
    settings = [SamplingSettings(temperature=temperature, top_p=1.0, top_k=top_k, seed=seed) for seed in range(n)]
    tokens = draw(scores.expand(n, -1), controls(*settings, vocabulary_size=6))[0][:, 0]
    counts = torch.bincount(tokens, minlength=6).double()
    n_kept = top_k or 5
    expected = (scores[:n_kept] / temperature).softmax(-1).double() * n
    assert counts[n_kept:].sum() == 0
    chi_square = ((counts[:n_kept] - expected) ** 2 / expected).sum().item()
    assert chi_square < 23.5  # at most 4 degrees of freedom, one in ten thousand


def test_truncation_draws_the_token_that_the_whole_vocabulary_would_give() -> None:
    """Noise is computed for the tokens left in the draw only; it must be the noise they have anyway."""
    scores = random_scores(6, n_rows=200)
    settings = [SamplingSettings(temperature=1.0, top_p=1.0, top_k=V - 1, seed=seed) for seed in range(200)]
    whole = [SamplingSettings(temperature=1.0, top_p=1.0, seed=seed) for seed in range(200)]
    truncated, full = draw(scores, controls(*settings))[0], draw(scores, controls(*whole))[0]
    least = scores.argmin(-1, keepdim=True)
    assert torch.equal(truncated[full != least], full[full != least])


def test_a_small_change_of_scores_rarely_changes_the_token() -> None:
    """Common random numbers: with the same noise, only tokens near a tie change."""
    scores = random_scores(9, n_rows=2000)
    nudged = scores + 0.01 * random_scores(10, n_rows=2000)
    plain = controls(*(SamplingSettings(temperature=1.0, top_p=1.0, seed=seed) for seed in range(2000)))
    assert (draw(scores, plain)[0] == draw(nudged, plain)[0]).float().mean() > 0.95
