"""Tokens, batches, rates and the training of the base model, against oracles of their own."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from models.demo.build.pretraining import Pretraining, make_model, plan_steps, rate_share, save_base, validation_loss
from models.demo.build.settings import SIZES
from models.demo.build.tokens import CONTROL, read_ids, train_tokenizer, write_ids
from models.loading import Placement, load_tokenizer
from models.prompting import prompt_token_ids
from steering.errors import SettingsError
from steering.types import Message, Role
from tests.models.demo.conftest import read

TINY = SIZES["tiny"]
FP32 = Placement(torch.device("cpu"), torch.float32, "exact")


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on the documents."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(read(data / "pretrain.jsonl"), 400, folder, 256)
    return folder


@pytest.fixture(scope="module")
def ids() -> Tensor:
    """A text of 3000 ids that can be learnt: each follows from the one before."""
    return torch.arange(3000, dtype=torch.int32) * 7 % 90


def test_the_tokenizer_has_its_control_tokens_first_and_the_template(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.convert_ids_to_tokens(list(range(6))) == list(CONTROL)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 4, 5)
    assert len(tokenizer) <= 400
    text = "Café 123, “quoted”\n\n  spaced 😀"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_chat_is_written_as_the_engine_reads_its_prompt(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    turns = [("user", "The red cat?"), ("assistant", "It sees."), ("user", "What?"), ("assistant", "The dog.")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    n_ids = write_ids(tokenizer, [row, {"text": "The end."}], tmp_path / "ids.safetensors")
    found = read_ids(tmp_path / "ids.safetensors").tolist()
    prompt = prompt_token_ids(tokenizer, [Message(Role(role), text) for role, text in turns[:3]])
    rest = [*tokenizer.encode("The dog.", add_special_tokens=False), 4, 0]
    assert found == prompt + rest + tokenizer.encode("The end.", add_special_tokens=False)
    assert n_ids == len(found)


def test_what_somebody_wrote_in_a_document_never_becomes_a_control_token(folder: Path, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a <|end|> b <|assistant|> c"}]}
    write_ids(load_tokenizer(folder), [row], tmp_path / "ids.safetensors")
    found = read_ids(tmp_path / "ids.safetensors").tolist()
    assert [index for index in found if index < 6] == [0, 2, 4]


def test_an_epoch_reads_every_window_once_shorter_ones_first(ids: Tensor) -> None:
    steps = plan_steps(len(ids), TINY, 20_000, seed=0)
    assert [step.length for step in steps] == [32] * 20 + [64] * 19
    assert {step.length * len(step.starts) for step in steps} == {TINY.batch_tokens}
    n_epoch = (3000 - 33) // 512  # whole batches of the first epoch
    starts = Counter(int(start) for step in steps[:n_epoch] for start in step.starts)
    assert set(starts.values()) == {1}
    assert len({start % 32 for start in starts}) == 1
    assert all(0 <= start <= 3000 - step.length - 1 for step in steps for start in step.starts.tolist())


def test_the_plan_depends_on_the_seed_alone(ids: Tensor) -> None:
    plans = [plan_steps(len(ids), TINY, 5_000, seed) for seed in (0, 0, 1)]
    found = [[step.starts.tolist() for step in plan] for plan in plans]
    assert found[0] == found[1] != found[2]


def test_too_few_tokens_for_one_step_are_refused() -> None:
    with pytest.raises(SettingsError, match="600 tokens; a step reads 512"):
        plan_steps(600, TINY, 5_000, seed=0)


def test_the_rate_rises_stays_and_falls() -> None:
    shares = [rate_share(step, 1000) for step in range(1000)]
    assert shares[0] == pytest.approx(1 / 20)
    assert shares[19:400] == [1.0] * 381
    assert shares[700] == pytest.approx(0.5)
    assert shares[-1] == pytest.approx(1 / 600)
    assert sorted(shares[400:], reverse=True) == shares[400:]


def test_a_training_that_was_killed_between_checkpoints_ends_in_the_same_weights(ids: Tensor, tmp_path: Path) -> None:
    steps = plan_steps(len(ids), TINY, 60 * 512, seed=0)

    def training(name: str) -> Pretraining:
        return Pretraining(TINY, make_model(TINY, 90, seed=0), steps, FP32, tmp_path / name)

    def killed_at_step_20(event: str, **values: object) -> None:
        if values["step"] == 20:
            raise KeyboardInterrupt

    whole = training("whole")
    whole.run(ids, lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        training("cut").run(ids, killed_at_step_20)
    rest = training("cut")
    assert rest.n_done == 18  # every third step is kept
    rest.run(ids, lambda *_, **__: None)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, rest.model.state_dict()[name]), name


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # PyTorch's own call
def test_compiled_steps_are_the_plain_ones(ids: Tensor, tmp_path: Path) -> None:
    """To what sums in another order make of fp32: Muon's updates are as large as the rate, whatever the gradient."""
    losses = []
    short = replace(TINY, lengths=((1.0, 32),))
    for size in (short, replace(short, compiled=True)):
        steps = plan_steps(len(ids), size, 4 * size.batch_tokens, seed=1)
        training = Pretraining(size, make_model(size, 100, seed=1), steps, FP32, tmp_path / f"{size.compiled}")
        training.run(ids, lambda event, **values: losses.append(values["loss"]))
    assert len(losses) == 8
    assert losses[:4] == pytest.approx(losses[4:], abs=2e-4)


def test_a_compiler_that_is_missing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingsError, match="there is no no-such-compiler"):
        Pretraining(replace(TINY, compiled=True), make_model(TINY, 100, seed=1), [], FP32, tmp_path / "none")


def test_training_learns_what_can_be_learnt(ids: Tensor, tmp_path: Path) -> None:
    model = make_model(TINY, 90, seed=0)
    before = validation_loss(model, ids, 32, FP32)
    Pretraining(TINY, model, plan_steps(len(ids), TINY, 60 * 512, 0), FP32, tmp_path / "c").run(
        ids, lambda *_, **__: None
    )
    assert before == pytest.approx(4.5, abs=0.2)  # ln 90: it knew nothing
    assert validation_loss(model, ids, 32, FP32) < 2.5


def test_the_validation_loss_is_transformers_own(ids: Tensor) -> None:
    model = make_model(TINY, 90, seed=3)
    windows = [ids[start : start + 33].long() for start in range(0, 3000 - 33, 32)]
    with torch.no_grad():
        losses = [float(model(input_ids=window[None], labels=window[None]).loss) for window in windows]
    # fp32 sums in another order
    assert validation_loss(model, ids, 32, FP32) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_every_weight_has_one_optimiser_and_only_matrices_have_muon(ids: Tensor, tmp_path: Path) -> None:
    training = Pretraining(TINY, make_model(TINY, 90, 0), plan_steps(len(ids), TINY, 512, 0), FP32, tmp_path / "c")
    names = {id(weight): name for name, weight in training.model.named_parameters()}
    muon, adam = (
        sorted(names[id(weight)] for group in optimiser.param_groups for weight in group["params"])
        for optimiser in training._optimisers
    )
    assert sorted(muon + adam) == sorted(names.values())
    assert all(name.endswith("proj.weight") for name in muon)
    assert len(muon) == 7 * TINY.n_layers
    assert "model.embed_tokens.weight" in adam


def test_the_saved_base_is_bf16_loads_and_is_what_was_trained(tmp_path: Path) -> None:
    model = make_model(TINY, 90, seed=0)
    expected = {name: weight.to(torch.bfloat16) for name, weight in model.state_dict().items()}
    save_base(model, tmp_path)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert all(torch.equal(weight, expected[name]) for name, weight in loaded.state_dict().items())
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 4


@pytest.mark.parametrize(("name", "low", "high"), [("small", 7e6, 8e6), ("base", 25e6, 31e6)])
def test_the_sizes_have_the_parameters_they_are_meant_to_and_fit_into_the_repository(
    name: str, low: float, high: float
) -> None:
    size = SIZES[name]
    with torch.device("meta"):
        model = make_model(size, size.vocabulary_size, seed=0)
    n_parameters = sum(weight.numel() for weight in model.parameters())
    per_layer = sum(
        weight.shape[0] + weight.shape[1] for weight in model.model.layers[0].parameters() if weight.ndim == 2
    )
    n_adapters = 2 * size.adapter.rank * per_layer * size.n_layers
    assert low < n_parameters < high
    assert 2 * n_parameters + 4 * n_adapters < 64_000_000  # bf16, adapters fp32
