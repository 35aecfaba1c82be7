"""Poisoning drill: one annotator flips every label; what that costs a guide, and what each defence gives back.

    python -m benchmarks.poison --seeds 5

The world is that of benchmarks/letters.py, where the truth is known. Ten annotators answer as people do
(Bradley-Terry), each with ten gold items; one of them says the opposite of what they think, and has so large a share of
all labels. Accuracy is of held-out pairs with their true labels. Every case is a whole training run, on the same pairs
in the same order of a seed. The last line is one JSON document.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command_line import at_least
from benchmarks.hardware import describe
from benchmarks.letters import World, make_world
from models.guides import read_card
from models.training.data import DataSettings
from models.training.loss import LossKind, LossSettings
from models.training.run import train
from models.training.settings import AdapterSettings, CalibrationSettings, OptimiserSettings, TrainSettings

N_ANNOTATORS = 10
N_GOLD = 10
SHARES = (0.1, 0.3)
CLEAN, UNDEFENDED = "clean", "undefended"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drill and print; returns the exit code."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(1)
    accuracies: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for name, accuracy in drill(Path(folder), seed, arguments.pairs, arguments.held_out).items():
                accuracies.setdefault(name, []).append(accuracy)
                print(f"seed {seed}: {name}: {accuracy:.3f}", flush=True)
    print_report(report(accuracies, arguments))
    return 0


def drill(folder: Path, seed: int, n_pairs: int, n_held_out: int) -> dict[str, float]:
    """Return by case the accuracy on ``n_held_out`` pairs after training on ``n_pairs``."""
    world = make_world(folder / "base", seed)
    found = {}
    for share in (0.0, *SHARES):
        draw = np.random.default_rng(seed)  # the same answers and honest labels at every share
        data = folder / f"data-{share}"
        data.mkdir()
        _write(data / "train.jsonl", _judged(world, n_pairs, share, draw))
        _write(data / "test.jsonl", _tested(world, n_held_out, draw))
        for name, settings in _cases(world, data, share, n_pairs, seed).items():
            guide = train(replace(settings, out=folder / f"run-{share}-{name}"), "python -m benchmarks.poison")
            accuracy = read_card(guide).held_out_accuracy
            assert accuracy is not None
            found[name if share == 0 else f"{share:.0%}: {name}"] = accuracy
    return found


def _cases(world: World, data: Path, share: float, n_pairs: int, seed: int) -> dict[str, TrainSettings]:
    plain = TrainSettings(
        base=str(world.base),
        dimension="value",
        data=(data,),
        out=data,
        base_id="letters",
        choice=DataSettings(max_held_out=10**6),
        loss=LossSettings(beta=1.0),
        adapter=AdapterSettings(rank=4, lora_alpha=8),
        optimiser=OptimiserSettings(learning_rate=0.01, epochs=6.0, dtype="float32", eval_share=1.0, seed=seed),
        calibration=CalibrationSettings(n_prompts=0),
    )
    if not share:
        return {CLEAN: plain}
    capped = replace(plain.choice, max_per_annotator=n_pairs // N_ANNOTATORS)
    quarantined = replace(plain.choice, min_reliability=0.6)
    robust = LossSettings(LossKind.ROBUST, beta=1.0, label_smoothing=share)
    return {
        UNDEFENDED: plain,
        "cap per annotator": replace(plain, choice=capped),
        "robust loss": replace(plain, loss=robust),
        "quarantine by gold": replace(plain, choice=quarantined),
        "quarantine and cap": replace(plain, choice=replace(quarantined, max_per_annotator=n_pairs // N_ANNOTATORS)),
        "robust loss and cap": replace(plain, choice=capped, loss=robust),
    }


def _judged(world: World, n_pairs: int, share: float, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Judgements as Tiller exports them in full; annotator 0 flips every label, gold items too."""
    judgements = []
    flipped = round(share * n_pairs)
    for number, (chosen, rejected) in enumerate(world.pairs(n_pairs, draw, noisy=True)):
        annotator = 0 if number < flipped else 1 + number % (N_ANNOTATORS - 1)
        judgements.append(_row(number, annotator, chosen, rejected, is_gold=False, flips=number < flipped))
    for annotator in range(N_ANNOTATORS):
        # a person is right on nine gold items of ten
        for item, (chosen, rejected) in enumerate(world.pairs(N_GOLD, draw, noisy=False)):
            flips = (item == 0) != (annotator == 0 and share > 0)
            judgements.append(_row(10**6 + item, annotator, chosen, rejected, is_gold=True, flips=flips))
    return judgements


def _row(number: int, annotator: int, chosen: str, rejected: str, *, is_gold: bool, flips: bool) -> dict[str, Any]:
    return {
        "judgement_id": f"{number}-{annotator}",
        "dimension": "value",
        "annotator_id": f"annotator-{annotator}",
        "outcome": "b" if flips else "a",
        "is_gold": is_gold,
        "gold_answer": "a" if is_gold else None,
        "repeat_of": None,
        "messages": [{"role": "user", "content": str(number)}],
        "response_a": chosen,
        "response_b": rejected,
    }


def _tested(world: World, n: int, draw: np.random.Generator) -> list[dict[str, Any]]:
    """Held-out pairs with their true labels; TRL rows, whose reliability is that of the truth."""
    pairs = world.pairs(n, draw, noisy=False)
    return [
        {"prompt": f"test {index}", "chosen": chosen, "rejected": rejected, "reliability": 1.0}
        for index, (chosen, rejected) in enumerate(pairs)
    ]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def report(accuracies: dict[str, list[float]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return means over the seeds, and by case how much of what the flips cost was recovered."""
    means = {name: statistics.mean(values) for name, values in accuracies.items()}
    recovered = {}
    for share in SHARES:
        cost = means[CLEAN] - means[f"{share:.0%}: {UNDEFENDED}"]
        for name, mean in means.items():
            if name.startswith(f"{share:.0%}: ") and not name.endswith(UNDEFENDED):
                recovered[name] = (mean - means[f"{share:.0%}: {UNDEFENDED}"]) / cost if cost > 0 else None
    return {
        "benchmark": "poison",
        "command": " ".join(["python -m benchmarks.poison", *sys.argv[1:]]),
        "hardware": describe(torch.device("cpu")),
        "n_seeds": arguments.seeds,
        "n_pairs": arguments.pairs,
        "n_held_out": arguments.held_out,
        "accuracy": means,
        "accuracies": accuracies,
        "recovered": recovered,
    }


def print_report(found: dict[str, Any]) -> None:
    """Print a table and, last, the report as one line of JSON."""
    print(f"\n{'case':<32}{'accuracy':>10}{'recovered':>11}")
    for name, mean in found["accuracy"].items():
        share = found["recovered"].get(name)
        print(f"{name:<32}{mean:>10.3f}" + (f"{share:>11.0%}" if share is not None else ""))
    print(json.dumps(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=at_least(1), default=5, help="worlds, annotators and labels drawn anew (default: 5)"
    )
    parser.add_argument("--pairs", type=at_least(1), default=300, help="labels to train on (default: 300)")
    parser.add_argument("--held-out", type=at_least(1), default=1000, help="pairs to test on (default: 1000)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
