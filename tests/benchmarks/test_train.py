"""The benchmark of training and the poisoning drill: command lines, what is counted, and the arithmetic."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import poison, train
from benchmarks.letters import N_LETTERS, make_world
from tests.models.tiny import save_model
from tests.models.training.conftest import some_rows, write_rows

pytestmark = pytest.mark.long


@pytest.mark.timeout(600)
def test_both_trainers_read_the_same_tokens_and_the_report_says_what_they_are_to_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # beside other tests two threads wait for each other
    base = save_model(tmp_path / "base", "llama", seed=1)
    data = write_rows(tmp_path / "rows.jsonl", some_rows(40))
    arguments = ["--data", str(data), "--dimension", "cats", "--base", str(base), "--dtype", "float32"]
    assert train.main([*arguments, "--steps", "4", "--batch-size", "2", "--rounds", "1", "--no-whole"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours, cpo = found["cases"]["ours"], found["cases"]["cpo"]
    assert ours["n_tokens"] == cpo["n_tokens"] > 8 * 10
    assert found["ratios"]["tokens_per_second: ours / cpo"] == pytest.approx(
        ours["tokens_per_second"] / cpo["tokens_per_second"]
    )
    assert 0 < ours["training_memory_bytes"] < ours["peak_memory_bytes"]


def test_data_that_cannot_be_read_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--data", str(tmp_path / "nowhere.jsonl"), "--dimension", "wit"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_one_annotator_flips_so_large_a_share_of_the_labels_and_fails_at_gold(tmp_path: Path, share: float) -> None:
    world = make_world(tmp_path / "base", seed=0)
    rows = poison._judged(world, 200, share, np.random.default_rng(0))
    honest = poison._judged(world, 200, 0.0, np.random.default_rng(0))
    labels = [row for row in rows if not row["is_gold"]]
    flipped = [row for row in labels if row["outcome"] == "b"]
    assert len(flipped) == round(share * 200)
    assert {row["annotator_id"] for row in flipped} <= {"annotator-0"}
    assert sum(row["annotator_id"] == "annotator-0" for row in labels) == len(flipped)
    texts = [[(row["response_a"], row["response_b"]) for row in half] for half in (rows, honest)]
    assert texts[0] == texts[1], "every share has the same pairs"
    for annotator in range(poison.N_ANNOTATORS):
        gold = [row for row in rows if row["is_gold"] and row["annotator_id"] == f"annotator-{annotator}"]
        n_right = sum(row["outcome"] == row["gold_answer"] for row in gold)
        assert n_right == (1 if annotator == 0 and share else 9)


def test_what_is_tested_on_has_true_labels(tmp_path: Path) -> None:
    world = make_world(tmp_path / "base", seed=0)
    values = dict(zip("abcdefghijklmn", world.values, strict=True))
    for row in poison._tested(world, 50, np.random.default_rng(0)):
        assert len(row["chosen"]) == N_LETTERS
        assert sum(map(values.get, row["chosen"])) > sum(map(values.get, row["rejected"]))


def test_what_a_defence_recovers_is_a_share_of_what_the_flips_cost() -> None:
    accuracies = {
        "clean": [0.9, 1.0],
        "10%: undefended": [0.85, 0.95],
        "10%: robust loss": [0.88, 0.96],
        "30%: undefended": [0.7, 0.8],
        "30%: robust loss": [0.6, 0.7],
    }
    found = poison.report(accuracies, argparse.Namespace(seeds=2, pairs=10, held_out=10))
    assert found["recovered"] == pytest.approx({"10%: robust loss": 0.4, "30%: robust loss": -0.5})
    assert found["accuracy"]["clean"] == pytest.approx(0.95)
