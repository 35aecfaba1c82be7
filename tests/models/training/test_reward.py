"""Reward models: they learn a preference, read it where the response ends, and are what they were once loaded again."""

import json
from pathlib import Path

import pytest
import torch

from models.training.data import DataSettings
from models.training.reward import RewardSettings, main, train_reward
from models.training.reward_model import RewardModel, load_reward
from steering.errors import LoadError, SettingsError
from steering.types import Message, Role
from tests.models.training.conftest import some_rows, write_rows


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A reward model that likes cats, and its card."""
    folder = tmp_path_factory.mktemp("reward")
    data = write_rows(
        folder / "cats.jsonl", [row for row in some_rows(1500) if n_cats(row, "chosen") > n_cats(row, "rejected")]
    )
    choice = DataSettings(held_out_share=0.25)
    settings = RewardSettings(str(base), "cats", (data,), folder / "judge", choice, learning_rate=5e-3, epochs=4)
    return folder / "judge", train_reward(settings)


@pytest.fixture(scope="module")
def judge(trained: tuple[Path, dict[str, object]]) -> RewardModel:
    """The same, loaded again, in fp32."""
    loaded = load_reward(trained[0], device="cpu")
    return RewardModel(loaded.model, loaded.tokenizer, torch.float32)


def n_cats(row: dict[str, object], name: str) -> int:
    """How many cats are in a response; a pair with the same number on both sides teaches nothing."""
    return str(row[name]).count("cat")


def ask(text: str) -> list[Message]:
    return [Message(Role.USER, text)]


def test_it_agrees_with_held_out_preferences_that_it_did_not_agree_with_before(
    trained: tuple[Path, dict[str, object]],
) -> None:
    _, card = trained
    low, _ = card["interval"]
    assert card["n_held_out"] > 50
    assert low > 0.6  # chance is 0.5
    assert card["held_out_accuracy"] > card["accuracy_before"] + 0.1


def test_it_prefers_what_it_was_taught_to_prefer(judge: RewardModel) -> None:
    prompts = [ask(f"{index} the mat") for index in range(20)]
    cats = judge.score([(prompt, "cat cat cat cat") for prompt in prompts])
    doors = judge.score([(prompt, "door mat dog ran") for prompt in prompts])
    assert sum(cats) > sum(doors) + 20 * 0.5


def test_a_reward_does_not_depend_on_what_else_is_judged(judge: RewardModel) -> None:
    judged = [(ask("the mat"), "cat " * n) for n in (1, 9, 3)]
    together = judge.score(judged)
    alone = [judge.score([each])[0] for each in judged]
    # fp32; padding changes only how sums are cut up
    assert together == pytest.approx(alone, abs=1e-4)
    assert together[0] != pytest.approx(together[1], abs=1e-3)


def test_a_reward_is_read_at_the_token_that_ends_the_response(judge: RewardModel) -> None:
    row = (0, 2, 30, 31, 4, 3, 40, 41, 4)
    with torch.no_grad():
        hidden = judge.model.model(torch.tensor([row])).last_hidden_state[0, -1]
        expected = float(judge.model.score.weight[0] @ hidden)
    assert judge.score_rows([row]) == pytest.approx([expected], abs=1e-5)


def test_a_folder_is_not_written_over_and_one_without_a_reward_model_is_refused(
    trained: tuple[Path, dict[str, object]], base: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="is there already"):
        train_reward(RewardSettings(str(base), "cats", (tmp_path,), trained[0]))
    with pytest.raises(LoadError, match="no reward model"):
        load_reward(tmp_path)


def test_the_command_prints_the_card_it_writes(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "cats.jsonl", some_rows(60))
    given = ["--base", str(base), "--data", str(data), "--dimension", "cats", "--out", str(tmp_path / "judge")]
    assert main([*given, "--epochs", "0.5", "--held-out-share", "0.3"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads((tmp_path / "judge" / "reward.json").read_text())
    assert (card["epochs"], card["choice"]["held_out_share"]) == (0.5, 0.3)
    assert main(given) == 2  # it is there already
    assert main([*given[:-1], str(tmp_path / "other"), "--epochs", "0"]) == 2
