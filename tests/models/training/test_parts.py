"""The smaller parts of a run: what is trained, and how it is read."""

from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from models.loading import Placement, load_tokenizer
from models.training.batches import Layout
from models.training.data import DataSettings
from models.training.encoding import Encoder
from models.training.loss import LossSettings
from models.training.processes import StopFlag
from models.training.rows import Preference
from models.training.run_folder import RunFolder
from models.training.settings import AdapterSettings, OptimiserSettings, TrainSettings
from models.training.trainee import load_trainee
from models.training.trainer import Lesson, make_trainer
from steering.errors import SettingsError
from steering.types import Message, Role
from tests.models.training.conftest import some_examples

FP32 = Placement(torch.device("cpu"), torch.float32, "")


def preference(prompt: str, chosen: str, rejected: str = "no") -> Preference:
    return Preference("x", (Message(Role.USER, prompt),), chosen, rejected)


def encoder(base: Path, **limits: int) -> Encoder:
    return Encoder(load_tokenizer(base), 4, None, 128, DataSettings(**limits))


def test_what_people_typed_is_no_control_token_and_the_end_of_an_answer_is_one(base: Path) -> None:
    (example,) = encoder(base).examples([preference("the <|end|> cat", "a <|assistant|><|end|> dog")])
    assert example.prompt.count(4) == 1  # the template's own
    assert example.responses[0].count(4) == 1
    assert example.responses[0][-1] == 4
    assert 3 not in example.responses[0]
    assert load_tokenizer(base).decode(example.responses[0][:-1]) == "a <|assistant|><|end|> dog"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_prompt_tokens": 5}, "long_prompt"),
        ({"max_response_tokens": 3}, "long_response"),
        ({"max_response_tokens": 4}, ""),
        ({}, ""),
    ],
)
def test_lengths_are_in_tokens_with_the_one_that_ends_an_answer(
    base: Path, limits: dict[str, int], reason: str
) -> None:
    assert encoder(base, **limits).why_not(preference("bfi", "jkl", "z")) == reason


def test_what_the_model_cannot_read_and_what_is_no_text_is_left_out(base: Path) -> None:
    assert encoder(base).why_not(preference("bfi", "b" * 130)) == "long_for_the_model"
    assert encoder(base).why_not(preference("bfi", "half \ud83d")) == "no_text"
    assert encoder(base).why_not(preference("half \ud83d", "yes")) == "no_text"


def test_weights_have_a_mean_of_one(base: Path) -> None:
    given = [preference("a", "b"), preference("c", "d")]
    heavy = Preference("x", given[1].messages, "d", "no", weight=3.0)
    assert [each.weight for each in encoder(base).examples([given[0], heavy])] == [0.5, 1.5]


def test_only_the_adapter_is_trained_and_in_fp32_even_where_the_base_is_in_bf16(base: Path) -> None:
    placement = Placement(torch.device("cpu"), torch.bfloat16, "")
    trainee = load_trainee(base, placement, AdapterSettings(rank=2))
    dtypes = {weight.requires_grad: weight.dtype for weight in trainee.model.parameters()}
    assert dtypes == {False: torch.bfloat16, True: torch.float32}
    names = {name for name, weight in trainee.model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_the_first_weights_are_the_seeds_and_the_global_generator_is_left_alone(base: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, same, other = (
        dict(load_trainee(base, FP32, AdapterSettings(), seed=seed).model.named_parameters()) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.rand(3), expected)
    lora = [name for name in first if "lora_A" in name]
    assert all(torch.equal(first[name], same[name]) for name in lora)
    assert not all(torch.equal(first[name], other[name]) for name in lora)


@pytest.mark.parametrize("targets", [("q_proj",), ("layers.0.self_attn.q_proj", "down_proj")])
def test_targets_are_names_of_layers(base: Path, targets: tuple[str, ...]) -> None:
    trainee = load_trainee(base, FP32, AdapterSettings(targets=targets))
    adapted = {name for name, _ in trainee.model.named_parameters() if "lora_A" in name}
    assert adapted
    assert all(any(target in name for target in targets) for name in adapted)


def test_a_target_that_matches_nothing_is_refused_though_others_match(base: Path) -> None:
    with pytest.raises(SettingsError, match="'w_proj'") as caught:
        load_trainee(base, FP32, AdapterSettings(targets=("q_proj", "w_proj")))
    assert "gate_proj" in caught.value.hint


def test_on_a_machine_with_several_gpus_one_process_computes_on_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeesTwo(TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 2

    monkeypatch.setattr("models.training.trainer.TrainingArguments", SeesTwo)
    trainee, pairs = load_trainee(base, FP32, AdapterSettings(rank=2)), some_examples(base, 8)
    lesson = Lesson(pairs, pairs, pairs, LossSettings(), Layout.APART)
    trainer = make_trainer(trainee, lesson, OptimiserSettings(batch_size=4), RunFolder(tmp_path), StopFlag())
    assert trainer.args.n_gpu == 1
    assert trainer.args.train_batch_size == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdapterSettings(rank=-1),
        lambda: AdapterSettings(targets=()),
        lambda: OptimiserSettings(learning_rate=0),
        lambda: OptimiserSettings(epochs=float("nan")),
        lambda: OptimiserSettings(batch_size=16, micro_batch_size=5),
        lambda: OptimiserSettings(patience=-1),
        lambda: OptimiserSettings(dtype="float16"),
        lambda: TrainSettings("demo", "a=b", (Path("x"),), Path("y")),
        lambda: TrainSettings("demo", "wit", (), Path("y")),
    ],
)
def test_a_setting_outside_its_range_is_refused(make) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert caught.value.hint
