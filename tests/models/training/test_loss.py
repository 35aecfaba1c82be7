"""The losses against TRL's trainer, the papers' formulas and sums written out in float64."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from models.loading import load_tokenizer
from models.training.batches import Example, Layout, batch_logprobs, collate
from models.training.loss import (
    LossKind,
    LossSettings,
    RewardShift,
    pairwise_losses,
    response_logprobs,
    unpaired_losses,
    weighted_mean,
)
from steering.errors import SettingsError
from tests.models.training.conftest import some_examples

BETA = 0.3


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def our_loss(model: torch.nn.Module, examples: list[Example], layout: Layout, settings: LossSettings) -> torch.Tensor:
    batch = collate(examples, layout, pad_token_id=5)
    logprobs = batch_logprobs(model, model.get_output_embeddings(), batch, layout)
    return weighted_mean(pairwise_losses(logprobs[0::2], logprobs[1::2], settings), batch["weights"][0::2])


def trl_loss(folder: Path, model: torch.nn.Module, examples: list[Example], tmp_path: Path, smoothing: float):
    """The loss of TRL's CPOTrainer, which has no reference model either, on the same token ids."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental parts of TRL say that they are
        from datasets import Dataset
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        args = CPOConfig(
            output_dir=str(tmp_path),
            loss_type="sigmoid",
            cpo_alpha=0.0,
            beta=BETA,
            label_smoothing=smoothing,
            report_to="none",
            use_cpu=True,
            bf16=False,
            fp16=False,
            max_length=128,
        )
        rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
        trainer = CPOTrainer(model=model, args=args, train_dataset=rows, processing_class=load_tokenizer(folder))
        features = []
        for example in examples:
            feature = {"prompt_input_ids": list(example.prompt), "prompt_attention_mask": [1] * len(example.prompt)}
            for name, response in zip(("chosen", "rejected"), example.responses, strict=True):
                feature[f"{name}_input_ids"] = [*example.prompt, *response]
                feature[f"{name}_attention_mask"] = [1] * len(feature[f"{name}_input_ids"])
                feature[f"{name}_labels"] = [-100] * len(example.prompt) + list(response)
            features.append(feature)
        loss, _ = trainer.get_batch_loss_metrics(model, trainer.data_collator(features))
    return loss


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_gradients_are_those_of_trls_cpo_trainer_without_its_likelihood_term(
    base: Path, tmp_path: Path, layout: Layout, smoothing: float
) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    examples = some_examples(base, 6)
    settings = LossSettings(beta=BETA, label_smoothing=smoothing)
    theirs = trl_loss(base, model, examples, tmp_path, smoothing)
    expected = gradients(model, theirs)
    ours = our_loss(model, examples, layout, settings)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    found = gradients(model, ours)
    assert found.keys() == expected.keys()
    assert len(found) > 10
    for name, gradient in expected.items():
        # relative to the largest gradient of the tensor: fp32 sums in another order
        assert (found[name] - gradient).abs().max() <= 1e-5 * max(1.0, float(gradient.abs().max())), name


@pytest.mark.parametrize("layout", Layout)
def test_loss_and_gradients_are_those_of_a_loop_in_float64(base: Path, layout: Layout) -> None:
    examples = some_examples(base, 5, seed=1)
    exact = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    losses = []
    for example in examples:
        rewards = []
        for response in example.responses:
            ids = torch.tensor([[*example.prompt, *response]])
            logprobs = exact(ids).logits[0].log_softmax(-1)
            first = len(example.prompt) - 1
            rewards.append(sum(logprobs[first + step, token] for step, token in enumerate(response)))
        losses.append(torch.log1p(torch.exp(-BETA * (rewards[0] - rewards[1]))))
    expected_loss = sum(losses) / len(losses)
    expected = gradients(exact, expected_loss)
    model = AutoModelForCausalLM.from_pretrained(base)
    ours = our_loss(model, examples, layout, LossSettings(beta=BETA))
    assert ours.item() == pytest.approx(expected_loss.item(), abs=1e-5)
    for name, gradient in gradients(model, ours).items():
        assert (gradient.double() - expected[name]).abs().max() <= 1e-5 * max(1.0, float(expected[name].abs().max()))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_robust_loss_is_the_papers_formula() -> None:
    chosen, rejected, epsilon = [-3.0, -10.0, -2.0], [-5.0, -4.0, -2.0], 0.2
    settings = LossSettings(LossKind.ROBUST, beta=BETA, label_smoothing=epsilon)
    found = pairwise_losses(torch.tensor(chosen), torch.tensor(rejected), settings)
    for value, good, bad in zip(found.tolist(), chosen, rejected, strict=True):
        # Chowdhury et al. 2024, eq. 11: ((1 - e) L(w, l) - e L(l, w)) / (1 - 2e)
        told, flipped = -math.log(sigmoid(BETA * (good - bad))), -math.log(sigmoid(BETA * (bad - good)))
        assert value == pytest.approx(((1 - epsilon) * told - epsilon * flipped) / (1 - 2 * epsilon), rel=1e-5)


def test_the_robust_loss_of_flipped_labels_is_on_average_the_loss_of_the_true_ones() -> None:
    chosen, rejected, epsilon = torch.tensor([-3.0, -8.0]), torch.tensor([-6.0, -5.0]), 0.3
    robust = LossSettings(LossKind.ROBUST, label_smoothing=epsilon)
    expected = pairwise_losses(chosen, rejected, LossSettings())
    mean = (1 - epsilon) * pairwise_losses(chosen, rejected, robust) + epsilon * pairwise_losses(
        rejected, chosen, robust
    )
    assert torch.allclose(mean, expected, atol=1e-6)


def test_a_margin_has_to_be_exceeded() -> None:
    found = pairwise_losses(torch.tensor([-1.0]), torch.tensor([-3.0]), LossSettings(beta=0.5, margin=0.4))
    assert found.item() == pytest.approx(-math.log(sigmoid(0.5 * 2 - 0.4)), rel=1e-6)


def test_the_unpaired_loss_is_the_papers_formula() -> None:
    logprobs, signs, shift = [-3.0, -7.0, -1.0], [1.0, -1.0, -1.0], -0.8
    found = unpaired_losses(torch.tensor(logprobs), torch.tensor(signs), torch.tensor(shift), BETA)
    # Jung et al. 2024: -log σ(r - δ) for good responses and -log σ(-(r - δ)) for bad ones
    expected = [
        -math.log(sigmoid(BETA * reward - shift) if sign > 0 else sigmoid(-(BETA * reward - shift)))
        for reward, sign in zip(logprobs, signs, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_the_shift_is_halfway_between_the_mean_rewards_of_good_and_bad_responses_however_many_there_are() -> None:
    shift = RewardShift()
    assert shift.is_new
    shift.hear(torch.tensor([2.0, -1.0, -2.0, -3.0], requires_grad=True), torch.tensor([1.0, -1.0, -1.0, -1.0]))
    assert (shift.is_new, shift.value) == (True, 0.0), "a step counts when it is over"
    shift.follow()
    assert shift.value == pytest.approx((2.0 + -2.0) / 2)
    assert not shift.is_new


def test_the_shift_follows_and_a_kind_that_is_missing_in_a_batch_keeps_its_mean() -> None:
    shift = RewardShift((1.0, -1.0), decay=0.9)
    shift.hear(torch.tensor([2.0]), torch.tensor([1.0]))
    shift.follow()
    shift.follow()  # nothing was heard since
    assert shift.means == (pytest.approx(1.1), -1.0)
    assert RewardShift().value == 0.0


def test_weights_count_as_often_as_they_say() -> None:
    losses = torch.tensor([1.0, 3.0])
    assert weighted_mean(losses, torch.tensor([1.5, 0.5])).item() == pytest.approx((1.5 + 1.5) / 2)


def test_the_sum_of_log_probs_is_fp32_whatever_the_model_computes_in() -> None:
    logits = torch.zeros(2, 4, dtype=torch.bfloat16)
    found = response_logprobs(logits, torch.tensor([1, 2]), torch.tensor([0, 1]), (1, 2))
    assert found.dtype == torch.float32
    # log 4 has no exact bf16: 1.3828 there, 1.3863 here
    assert found.item() == pytest.approx(-2 * math.log(4), rel=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {"beta": 0},
        {"beta": math.nan},
        {"beta": math.inf},
        {"label_smoothing": 0.5},
        {"label_smoothing": -0.1},
        {"margin": -1},
        {"margin": math.nan},
        {"kind": LossKind.ROBUST},
        {"kind": LossKind.UNPAIRED, "label_smoothing": 0.1},
        {"kind": LossKind.UNPAIRED, "margin": 0.1},
    ],
)
def test_a_setting_without_meaning_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as caught:
        LossSettings(**values)
    assert caught.value.hint


def test_the_shift_is_one_for_all_turns_and_processes_though_each_has_another_part_of_the_step() -> None:
    rewards, signs = torch.tensor([2.0, -1.0, -2.0, -3.0, 6.0]), torch.tensor([1.0, -1.0, -1.0, -1.0, 1.0])
    expected = (pytest.approx(0.95 * 1.0 + 0.05 * 4.0), pytest.approx(0.95 * -1.0 + 0.05 * -2.0))
    halves = [(rewards[:1], signs[:1]), (rewards[1:], signs[1:])]
    by_turns = RewardShift((1.0, -1.0))
    for part in halves:
        by_turns.hear(*part)
    by_turns.follow()
    assert by_turns.means == expected
    told: list[torch.Tensor] = []
    for everywhere in (lambda sums: told.append(sums.clone()) or sums, lambda _: told[0] + told[1]):
        processes = [RewardShift((1.0, -1.0)) for _ in halves]
        for shift, part in zip(processes, halves, strict=True):
            shift.hear(*part)
            shift.follow(everywhere)
    assert [shift.means for shift in processes] == [expected, expected]
