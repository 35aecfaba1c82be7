"""The noise is Gumbel noise, a function of (seed, position, token) alone, and the same everywhere."""

import math

import torch

from steering import noise as stateless

EULER_GAMMA = 0.5772156649015329


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


def gumbel_noise(seeds: torch.Tensor, positions: torch.Tensor, vocabulary_size: int) -> torch.Tensor:
    tokens = stateless.token_keys(vocabulary_size, torch.device("cpu"))
    return stateless.gumbel_noise(stateless.seed_keys(seeds), positions, tokens)


def lowbias32(x: int) -> int:
    """The published finaliser on Python integers, where nothing wraps by itself."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def reference_noise(seed: int, position: int, token: int) -> float:
    def key(constant: int) -> int:
        word = lowbias32(lowbias32((seed % 2**32) ^ constant) ^ seed >> 32)
        return lowbias32((word + position) % 2**32)

    bits = lowbias32(lowbias32(lowbias32(token) ^ key(0x3C6EF372)) ^ key(0x1B873593))
    signed = bits - 2**32 if bits >= 2**31 else bits
    uniform = (signed + 2**31 + 0.5) / 2**32
    return -math.log(-math.log(uniform))


def test_noise_equals_the_hash_computed_with_python_integers() -> None:
    for seed, position in [(0, 0), (1, 7), (2**31, 3), (2**63 - 1, 100_000), (123456789012345, 42)]:
        noise = gumbel_noise(ints(seed), ints(position), 500)[0]
        expected = torch.tensor([reference_noise(seed, position, token) for token in range(500)], dtype=torch.float64)
        # both come from fp64 logarithms; only the last rounding to fp32 may differ
        torch.testing.assert_close(noise, expected.float(), rtol=2e-7, atol=1e-7)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    alone = gumbel_noise(ints(5), ints(9), 1000)
    among = gumbel_noise(ints(1, 5, 5), ints(9, 9, 10), 1000)
    assert torch.equal(alone[0], among[1])
    assert not torch.equal(among[0], among[1])
    assert not torch.equal(among[1], among[2])


def test_a_token_has_the_same_noise_in_a_larger_vocabulary() -> None:
    assert torch.equal(gumbel_noise(ints(3), ints(4), 1000), gumbel_noise(ints(3), ints(4), 5000)[:, :1000])


def test_noise_has_the_moments_of_the_gumbel_distribution() -> None:
    seeds, positions = torch.arange(64).repeat_interleave(16), torch.arange(16).repeat(64)
    noise = gumbel_noise(seeds, positions, 1000).double()
    # 1,024,000 draws: the standard error of the mean is 0.0013, of the variance about 0.005; five of each
    assert abs(noise.mean().item() - EULER_GAMMA) < 0.0065
    assert abs(noise.var().item() - math.pi**2 / 6) < 0.025


def test_noise_is_uncorrelated_across_seeds_positions_and_tokens() -> None:
    seeds, positions = torch.arange(100).repeat_interleave(100), torch.arange(100).repeat(100)
    grid = gumbel_noise(seeds, positions, 64).double().view(100, 100, 64)
    grid = (grid - grid.mean()) / grid.std()
    for shifted in (grid[1:] * grid[:-1], grid[:, 1:] * grid[:, :-1], grid[..., 1:] * grid[..., :-1]):
        # the mean of n products of independent standard variables has standard error 1/√n ≈ 0.00126; five of them
        assert abs(shifted.mean().item()) < 5 / shifted.numel() ** 0.5


def test_the_uniform_behind_the_noise_fills_its_range_evenly() -> None:
    noise = gumbel_noise(torch.arange(256), torch.zeros(256, dtype=torch.int64), 4096).double()
    uniform = (-(-noise).exp()).exp()
    counts = torch.histc(uniform, bins=256, min=0, max=1)
    expected = uniform.numel() / 256
    chi_square = ((counts - expected) ** 2 / expected).sum().item()
    # 255 degrees of freedom: mean 255, standard deviation 22.6; five of them
    assert 255 - 5 * 22.6 < chi_square < 255 + 5 * 22.6


def test_noise_is_finite_at_the_ends_of_the_uniform() -> None:
    noise = gumbel_noise(torch.arange(2048), torch.arange(2048), 2048)
    assert torch.isfinite(noise).all()
    assert -3.2 <= noise.min() <= noise.max() <= 23
