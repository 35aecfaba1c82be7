"""The decode loop over an ensemble whose tables are known, against a float64 hand loop."""

import math

import pytest
import torch

from steering.controls import Slot, slot_for
from steering.decoder import Decoding, SlotStep
from steering.errors import BlendError
from steering.types import Blend, FinishReason, SamplingSettings
from tests.steering.fakes import TableEnsemble

V = 11
PROMPTS = [[1, 2, 3]] * 3


def random_ensemble(seed: int = 0, n_guides: int = 2, eos: frozenset[int] = frozenset()) -> TableEnsemble:
    generator = torch.Generator().manual_seed(seed)
    return TableEnsemble(torch.randn(1 + n_guides, V, V, generator=generator, dtype=torch.float64) * 2, eos)


def run(ensemble: TableEnsemble, slots: list[Slot], n_top: int = 0) -> list[list[SlotStep]]:
    """All steps by slot."""
    by_slot: list[list[SlotStep]] = [[] for _ in slots]
    for steps in Decoding(ensemble, PROMPTS, slots, n_top).steps():
        for step in steps:
            by_slot[step.slot].append(step)
    return by_slot


def ids(steps: list[SlotStep]) -> list[int]:
    return [step.trace.token_id for step in steps]


def mixture(ensemble: TableEnsemble, last: int, exponents: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    members = ensemble.tables[:, last].log_softmax(-1)
    scores = members[0] + sum(a * guide for a, guide in zip(exponents, members[1:], strict=True))
    return scores.log_softmax(-1), members


@pytest.mark.parametrize("exponents", [(0.0, 0.0), (0.5, 0.0), (1.0, 2.0), (-0.5, 1.0)])
def test_every_reported_number_equals_a_float64_hand_loop(exponents: tuple[float, ...]) -> None:
    ensemble = random_ensemble()
    sampling = SamplingSettings(temperature=1.0, top_p=1.0, max_new_tokens=30, seed=5, plausibility=1e-9)
    (steps,) = run(ensemble, [Slot(1.0, exponents, sampling)], n_top=4)
    last = PROMPTS[0][-1]
    for step in steps:
        mixed, members = mixture(ensemble, last, exponents)
        token, trace = step.trace.token_id, step.trace
        assert trace.base_logprob == pytest.approx(members[0, token].item(), abs=1e-5)
        assert trace.mixed_logprob == pytest.approx(mixed[token].item(), abs=1e-5)
        assert trace.kl == pytest.approx((mixed.exp() * (mixed - members[0])).sum().item(), abs=1e-5)
        assert trace.entropy == pytest.approx(-(mixed.exp() * mixed).sum().item(), abs=1e-5)
        if any(exponents):
            assert trace.guide_logprobs == pytest.approx(
                {"d0": members[1, token].item(), "d1": members[2, token].item()}, abs=1e-5
            )
        best = mixed.topk(4)
        assert [top.token_id for top in trace.top] == best.indices.tolist()
        assert [top.mixed_prob for top in trace.top] == pytest.approx(best.values.exp().tolist(), abs=1e-6)
        assert [top.base_prob for top in trace.top] == pytest.approx(members[0, best.indices].exp().tolist(), abs=1e-6)
        last = token


def test_greedy_follows_the_likeliest_token_of_the_mixture() -> None:
    ensemble = random_ensemble(1)
    (steps,) = run(ensemble, [Slot(1.0, (0.7, 0.3), SamplingSettings(temperature=0.0, max_new_tokens=20))])
    last, expected = PROMPTS[0][-1], []
    for _ in range(20):
        last = int(mixture(ensemble, last, (0.7, 0.3))[0].argmax())
        expected.append(last)
    assert ids(steps) == expected


def test_an_answer_does_not_depend_on_what_is_decoded_beside_it() -> None:
    ensemble = random_ensemble(2, eos=frozenset([4]))
    slots = [
        Slot(1.0, (0.0, 0.0), SamplingSettings(max_new_tokens=40, seed=1)),
        Slot(1.0, (1.0, 0.5), SamplingSettings(max_new_tokens=25, seed=1, top_k=4)),
        Slot(1.0, (0.0, -0.5), SamplingSettings(max_new_tokens=40, seed=2, temperature=1.5)),
        Slot(0.0, (1.0, 1.0), SamplingSettings(max_new_tokens=10, seed=3, min_p=0.1)),
    ]
    together = run(ensemble, slots)
    for slot, steps in zip(slots, together, strict=True):
        (alone,) = run(ensemble, [slot])
        assert [step.trace for step in alone] == [step.trace for step in steps]


def test_weights_of_zero_give_the_unguided_answer_token_for_token() -> None:
    ensemble, sampling = random_ensemble(3), SamplingSettings(max_new_tokens=50, seed=9)
    units = dict.fromkeys(ensemble.dimensions, 0.3)
    unguided, zero = run(ensemble, [slot_for(Blend(), units, sampling), slot_for(Blend({"d1": 0.0}), units, sampling)])
    assert ids(unguided) == ids(zero)


def test_a_slot_ends_at_eos_or_at_its_own_limit_and_leaves_the_batch() -> None:
    ensemble = random_ensemble(4, eos=frozenset([0]))
    slots = [Slot(1.0, (0.0, 1.0), SamplingSettings(temperature=1.0, max_new_tokens=n, seed=n)) for n in (3, 60, 90)]
    for steps, slot in zip(run(ensemble, slots), slots, strict=True):
        assert [step.finish_reason for step in steps[:-1]] == [None] * (len(steps) - 1)
        if steps[-1].finish_reason is FinishReason.EOS:
            assert ids(steps)[-1] == 0
        else:
            assert steps[-1].finish_reason is FinishReason.LENGTH
            assert len(steps) == slot.sampling.max_new_tokens
        assert 0 not in ids(steps)[:-1]
    assert ensemble.batches[-1].n_slots == 1  # the others were released before the last step


def test_without_stop_at_eos_an_answer_goes_on_to_its_limit() -> None:
    ensemble = random_ensemble(4, eos=frozenset(range(V)))
    (steps,) = run(ensemble, [Slot(1.0, (0.0, 0.0), SamplingSettings(max_new_tokens=7, stop_at_eos=False))])
    assert [step.finish_reason for step in steps] == [None] * 6 + [FinishReason.LENGTH]


def test_a_guide_that_returns_nan_is_an_error_and_not_a_token() -> None:
    ensemble = random_ensemble(5)
    ensemble.tables[1] = torch.nan
    with pytest.raises(FloatingPointError):
        run(ensemble, [Slot(1.0, (1.0, 0.0), SamplingSettings())])


def test_exponents_are_weights_times_units() -> None:
    slot = slot_for(Blend({"b": 2.0}), {"a": 0.5, "b": 0.24}, SamplingSettings())
    assert slot.guide_exponents == (0.0, 0.48)


def test_an_unknown_dimension_is_refused_naming_those_there_are() -> None:
    with pytest.raises(BlendError, match=r"'kindness'.*helpfulness, harmlessness"):
        slot_for(Blend({"kindness": 1.0}), {"helpfulness": 1.0, "harmlessness": 1.0}, SamplingSettings())


def test_a_negative_weight_turns_the_plausibility_mask_on_and_needs_it() -> None:
    assert Slot(1.0, (-1.0,), SamplingSettings()).plausibility == 0.1
    assert Slot(1.0, (1.0,), SamplingSettings()).plausibility == 0.0
    assert Slot(1.0, (0.0,), SamplingSettings(plausibility=0.5)).plausibility == 0.0
    with pytest.raises(BlendError, match="plausibility"):
        Slot(1.0, (-1.0,), SamplingSettings(plausibility=0.0))


def test_with_a_negative_weight_no_implausible_token_is_drawn() -> None:
    ensemble = random_ensemble(6)
    (steps,) = run(ensemble, [Slot(1.0, (-3.0, 0.0), SamplingSettings(temperature=2.0, top_p=1.0, seed=1))])
    last = PROMPTS[0][-1]
    for step in steps:
        base = ensemble.tables[0, last].log_softmax(-1)
        assert base[step.trace.token_id] >= base.max() + math.log(0.1) - 1e-5
        last = step.trace.token_id
