"""Mixing against a float64 brute force over a tiny vocabulary; tolerances are fp32's."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steering.ensemble import Logprobs
from steering.mixing import information, mask_implausible, mix

V = 7


def random_logprobs(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 3).log_softmax(-1)


def brute_force(base: torch.Tensor, guides: torch.Tensor, a0: float, exponents: list[float]) -> list[float]:
    """Multiply probabilities token by token with Python floats, then normalise."""
    weights = []
    for v in range(V):
        product = math.exp(base[v].item()) ** a0
        for guide, a in zip(guides, exponents, strict=True):
            product *= math.exp(guide[v].item()) ** a
        weights.append(product)
    return [weight / sum(weights) for weight in weights]


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**20),
    a0=st.floats(0, 2),
    exponents=st.lists(st.floats(-3, 4), min_size=1, max_size=4),
)
def test_the_mixture_equals_multiplying_probabilities_in_float64(seed: int, a0: float, exponents: list[float]) -> None:
    base, guides = random_logprobs(seed, V), random_logprobs(seed + 1, len(exponents), V)
    logprobs = Logprobs(base.float()[None], guides.float()[:, None], torch.tensor([0]))
    scores = mix(logprobs, torch.tensor([[a0]]), torch.tensor(exponents)[:, None])
    if all(exponents):
        said = mix(logprobs, torch.tensor([[a0]]), torch.tensor(exponents)[:, None], all_guide=True)
        assert torch.equal(said, scores)
    mixed = scores[0].softmax(-1).double()
    expected = torch.tensor(brute_force(base, guides, a0, exponents), dtype=torch.float64)
    # scores reach about 100, where fp32 has a spacing of 8e-6; relative to 1, probabilities are good to 1e-5
    torch.testing.assert_close(mixed, expected, rtol=0, atol=2e-5)


def test_at_slider_sized_exponents_the_mixture_is_good_to_one_millionth() -> None:
    for seed in range(50):
        base, guides = random_logprobs(seed, V), random_logprobs(seed + 1000, 2, V)
        logprobs = Logprobs(base.float()[None], guides.float()[:, None], torch.tensor([0]))
        mixed = mix(logprobs, torch.ones(1, 1), torch.tensor([[0.48], [0.96]]))[0].softmax(-1).double()
        expected = torch.tensor(brute_force(base, guides, 1.0, [0.48, 0.96]), dtype=torch.float64)
        torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-6)


def test_the_order_of_guides_does_not_matter() -> None:
    base, guides = random_logprobs(1, 1, V).float(), random_logprobs(2, 3, 1, V).float()
    exponents = torch.tensor([[0.5], [-0.3], [1.7]])
    order = torch.tensor([2, 0, 1])
    one = mix(Logprobs(base, guides, torch.tensor([0])), torch.ones(1, 1), exponents)
    other = mix(Logprobs(base, guides[order], torch.tensor([0])), torch.ones(1, 1), exponents[order])
    torch.testing.assert_close(one, other, rtol=0, atol=4e-6)  # fp32 sums of numbers around 10 in another order


def test_a_guide_with_exponent_zero_is_left_out_even_when_it_is_broken() -> None:
    base = random_logprobs(1, 1, V).float()
    broken = torch.stack([torch.full((1, V), torch.nan), torch.full((1, V), -torch.inf)])
    scores = mix(Logprobs(base, broken, torch.tensor([0])), torch.ones(1, 1), torch.zeros(2, 1))
    assert torch.equal(scores, base)


def test_a_base_exponent_of_zero_leaves_the_guides_alone() -> None:
    base, guides = torch.full((1, V), -torch.inf), random_logprobs(3, 2, 1, V).float()
    scores = mix(Logprobs(base, guides, torch.tensor([0])), torch.zeros(1, 1), torch.tensor([[1.0], [2.0]]))
    torch.testing.assert_close(scores[0], guides[0, 0] + 2 * guides[1, 0])


def test_a_token_the_guide_forbids_gets_no_probability_and_no_nan() -> None:
    base, guide = random_logprobs(1, 1, V).float(), random_logprobs(2, 1, 1, V).float()
    guide[0, 0, 3] = -torch.inf
    probs = mix(Logprobs(base, guide, torch.tensor([0])), torch.ones(1, 1), torch.tensor([[1.5]]))[0].softmax(-1)
    assert probs[3] == 0
    assert torch.isfinite(probs).all()


def test_a_negative_exponent_over_a_forbidden_token_stays_finite() -> None:
    base, guide = random_logprobs(1, 1, V).float(), random_logprobs(2, 1, 1, V).float()
    guide[0, 0, 3] = -torch.inf
    base[0, 4] = guide[0, 0, 4] = -torch.inf
    scores = mix(Logprobs(base, guide, torch.tensor([0])), torch.ones(1, 1), torch.tensor([[-2.0]]))
    assert not torch.isnan(scores).any()
    assert scores[0, 4] == -torch.inf  # what the base forbids stays forbidden
    assert scores.argmax() == 3


def test_guides_change_only_the_slots_they_see() -> None:
    base, guides = random_logprobs(1, 3, V).float(), random_logprobs(2, 1, 2, V).float()
    scores = mix(Logprobs(base, guides, torch.tensor([0, 2])), torch.ones(3, 1), torch.tensor([[1.0, 0.5]]))
    assert torch.equal(scores[1], base[1])
    torch.testing.assert_close(scores[0], base[0] + guides[0, 0])
    torch.testing.assert_close(scores[2], base[2] + 0.5 * guides[0, 1])


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.5, 1.0])
def test_the_plausibility_mask_keeps_tokens_by_their_base_probability(epsilon: float) -> None:
    base, scores = random_logprobs(5, 1, V).float(), random_logprobs(6, 1, V).float()
    masked = mask_implausible(scores, base, torch.tensor([[epsilon]]).log())
    for v in range(V):
        keeps = math.exp(base[0, v].item()) >= epsilon * math.exp(base[0].max().item()) * (1 - 1e-6)
        assert masked[0, v] == (scores[0, v] if keeps else -torch.inf)


def test_a_plausibility_of_zero_masks_nothing_not_even_impossible_tokens() -> None:
    base, scores = random_logprobs(5, 1, V).float(), random_logprobs(6, 1, V).float()
    base[0, 2] = -torch.inf
    assert torch.equal(mask_implausible(scores, base, torch.zeros(1, 1).log()), scores)


def test_kl_and_entropy_equal_their_sums_in_float64() -> None:
    p, q = random_logprobs(7, V), random_logprobs(8, V)
    expected_kl = sum(math.exp(a) * (a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    expected_entropy = -sum(math.exp(a) * a for a in p.tolist())
    kl, entropy = information(p.float()[None], q.float()[None])
    assert kl.item() == pytest.approx(expected_kl, abs=1e-5)
    assert entropy.item() == pytest.approx(expected_entropy, abs=1e-5)


def test_a_token_without_probability_adds_nothing_to_kl_and_entropy() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0]]).log()
    for forbidden in (0.0, 0.3):  # by the mixture alone, and by both
        q = torch.tensor([[0.25, 0.75 - forbidden, forbidden]]).log()
        kl, entropy = information(p, q)
        expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / (0.75 - forbidden))
        assert kl.item() == pytest.approx(expected, abs=1e-6)
        assert entropy.item() == pytest.approx(math.log(2), abs=1e-6)
