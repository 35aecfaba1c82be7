"""The decode loop over an ensemble whose tables are known, against a float64 hand loop."""

import math

import pytest
import torch

from steering.controls import Slot, slot_for
from steering.decoder import Decoder, SlotStep
from steering.errors import BlendError
from steering.types import Blend, FinishReason, SamplingSettings
from tests.steering.fakes import TableEnsemble, TableReading

V = 11
PROMPTS = [[1, 2, 3]] * 3


def random_ensemble(
    seed: int = 0, n_guides: int = 2, eos: frozenset[int] = frozenset(), empty_places: int = 0
) -> TableEnsemble:
    generator = torch.Generator().manual_seed(seed)
    tables = torch.randn(1 + n_guides, V, V, generator=generator, dtype=torch.float64) * 2
    return TableEnsemble(tables, eos, empty_places)


def read(ensemble: TableEnsemble) -> TableReading:
    reading = ensemble.read(PROMPTS, with_guides=True)
    reading.advance(3)
    return reading


def run(ensemble: TableEnsemble, slots: list[Slot], *, is_ahead: bool = False) -> list[list[SlotStep]]:
    """All steps by slot."""
    decoder = Decoder(ensemble, is_ahead=is_ahead)
    decoder.join(read(ensemble), dict(enumerate(slots)))
    return finish(decoder, len(slots))


def finish(decoder: Decoder, n_slots: int) -> list[list[SlotStep]]:
    by_slot: list[list[SlotStep]] = [[] for _ in range(n_slots)]
    while steps := decoder.step():
        for step in steps:
            by_slot[step.slot].append(step)
    assert not decoder.running
    assert not any(key is not None for key in decoder.batch.slots)
    return by_slot


def ids(steps: list[SlotStep]) -> list[int]:
    return [step.token_id for step in steps]


def mixture(ensemble: TableEnsemble, last: int, exponents: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    members = ensemble.tables[:, last].log_softmax(-1)
    scores = members[0] + sum(a * guide for a, guide in zip(exponents, members[1:], strict=True))
    return scores.log_softmax(-1), members


@pytest.mark.parametrize("exponents", [(0.0, 0.0), (0.5, 0.0), (1.0, 2.0), (-0.5, 1.0)])
def test_every_reported_number_equals_a_float64_hand_loop(exponents: tuple[float, ...]) -> None:
    ensemble = random_ensemble()
    sampling = SamplingSettings(temperature=1.0, top_p=1.0, max_new_tokens=30, seed=5, plausibility=1e-9)
    (steps,) = run(ensemble, [Slot(1.0, exponents, sampling, n_top=4)])
    last = PROMPTS[0][-1]
    for step in steps:
        mixed, members = mixture(ensemble, last, exponents)
        token, trace = step.token_id, step.trace(ensemble.dimensions)
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
    for is_ahead, empty_places in [(False, 0), (True, 0), (False, 3), (True, 3)]:
        beside = random_ensemble(2, eos=frozenset([4]), empty_places=empty_places)
        for slot, steps in zip(slots, run(beside, slots, is_ahead=is_ahead), strict=True):
            (alone,) = run(ensemble, [slot])
            assert [(step.token_id, step.numbers) for step in alone] == [
                (step.token_id, step.numbers) for step in steps
            ]


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


def test_without_stop_at_eos_an_answer_goes_on_to_its_limit() -> None:
    ensemble = random_ensemble(4, eos=frozenset(range(V)))
    (steps,) = run(ensemble, [Slot(1.0, (0.0, 0.0), SamplingSettings(max_new_tokens=7, stop_at_eos=False))])
    assert [step.finish_reason for step in steps] == [None] * 6 + [FinishReason.LENGTH]


def test_slots_join_and_leave_between_steps_and_change_nothing_for_the_others() -> None:
    slots = {key: Slot(1.0, (0.5 * key, 0.2), SamplingSettings(max_new_tokens=12, seed=key)) for key in range(4)}
    alone = {key: run(random_ensemble(2), [slot])[0] for key, slot in slots.items()}
    for is_ahead in (False, True):
        ensemble = random_ensemble(2)
        decoder = Decoder(ensemble, is_ahead=is_ahead)
        decoder.join(read(ensemble), {0: slots[0], 1: slots[1]})
        seen: dict[int, list[int]] = {key: [] for key in slots}
        for n_step in range(40):
            if n_step == 3:
                decoder.join(read(ensemble), {2: slots[2]})
            if n_step == 5:
                decoder.leave([1])
            if n_step == 6:
                decoder.join(read(ensemble), {3: slots[3]})
            for step in decoder.step():
                seen[step.slot].append(step.token_id)
        assert not decoder.running
        for key in (0, 2, 3):
            assert seen[key] == ids(alone[key])
        assert 3 <= len(seen[1]) < 12
        assert seen[1] == ids(alone[1])[: len(seen[1])]


def test_an_answer_of_one_token_leaves_no_slot_behind() -> None:
    for is_ahead in (False, True):
        (steps,) = run(
            random_ensemble(), [Slot(1.0, (1.0, 0.0), SamplingSettings(max_new_tokens=1))], is_ahead=is_ahead
        )
        assert [step.finish_reason for step in steps] == [FinishReason.LENGTH]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_step_that_failed_can_be_taken_again(is_ahead: bool) -> None:
    slots = [Slot(1.0, (0.5, 0.2), SamplingSettings(max_new_tokens=12, seed=3))]
    (expected,) = run(random_ensemble(2), slots)
    ensemble = random_ensemble(2)
    decoder = Decoder(ensemble, is_ahead=is_ahead)
    decoder.join(read(ensemble), dict(enumerate(slots)))
    seen, n_failed = [], 0
    while decoder.running:
        if len(seen) == 5 and not n_failed:
            ensemble.fails = 0
        try:
            seen += decoder.step()
        except RuntimeError:
            n_failed += 1
    seen += decoder.step()
    assert n_failed == 1
    assert ids(seen) == ids(expected)


def test_trying_slots_alone_changes_nothing_for_anyone() -> None:
    slots = [Slot(1.0, (0.5, 0.2), SamplingSettings(max_new_tokens=12, seed=seed)) for seed in range(3)]
    expected = run(random_ensemble(2), slots)
    ensemble = random_ensemble(2)
    decoder = Decoder(ensemble)
    decoder.join(read(ensemble), dict(enumerate(slots)))
    first = decoder.step()
    decoder.try_alone([1])
    ensemble.fails = 0
    with pytest.raises(RuntimeError, match="broken"):
        decoder.try_alone([0, 2])
    rest = finish(decoder, 3)
    for key, step in enumerate(first):
        assert ids([step, *rest[key]]) == ids(expected[key])


def test_a_guide_that_returns_nan_breaks_only_the_slots_it_sees() -> None:
    ensemble = random_ensemble(5)
    ensemble.tables[1] = torch.nan
    sampling = SamplingSettings(max_new_tokens=3)
    guided, unguided = run(ensemble, [Slot(1.0, (1.0, 0.0), sampling), Slot(1.0, (0.0, 0.0), sampling)])
    assert all(step.is_broken for step in guided)
    assert not any(step.is_broken for step in unguided)


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
        assert base[step.token_id] >= base.max() + math.log(0.1) - 1e-5
        last = step.token_id
