"""How fast guides are trained: our trainer and TRL's CPOTrainer in turn, and one whole run of the command line.

    python -m benchmarks.train --data pairs.jsonl --dimension harmlessness
    python -m benchmarks.train --data pairs.jsonl.xz --dimension harmlessness --pairs 2000 --rounds 3

Both train the same LoRA adapter on the same pairs in batches of the same size and the same precision; CPOTrainer
(loss_type sigmoid, cpo_alpha 0) computes the same loss. Every case is a process of its own, so that its peak memory is
its own, and the cases run in turn. tokens/s counts prompt and response of both sides of every pair, as each trainer
reads them, over the steps after the first two; training_memory is the peak less what the process held before the first
step, so that what a trainer imports does not count. The last line is one JSON document.
"""

import argparse
import json
import lzma
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.command_line import at_least, tell
from benchmarks.hardware import describe
from models.training.run_folder import read_progress
from steering.errors import InputError, TillerError

CASES = ("ours", "cpo")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = _drawn(_read(arguments.data), arguments.pairs)
            data = Path(folder) / "pairs.jsonl"
            data.write_text("".join(rows), encoding="utf-8")
            found = report(arguments, data, Path(folder))
    except TillerError as error:
        return tell("benchmarks.train", error)
    print_report(found)
    return 0


def report(arguments: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Run the cases in turn, ``arguments.rounds`` times, and then the whole run."""
    rounds = []
    for number in range(arguments.rounds):
        rounds.append({case: _in_a_process(case, arguments, data) for case in CASES})
        print(f"round {number}: " + ", ".join(f"{c} {f['tokens_per_second']:.0f}/s" for c, f in rounds[-1].items()))
    found = {
        "benchmark": "train",
        "command": " ".join(["python -m benchmarks.train", *sys.argv[1:]]),
        "hardware": describe(torch.device("cpu")),
        "base": arguments.base,
        "n_steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "n_rounds": arguments.rounds,
        "cases": {
            case: {key: statistics.median(row[case][key] for row in rounds) for key in rounds[0][case]}
            for case in CASES
        },
        "ratios": {
            f"{key}: ours / cpo": statistics.median(row["ours"][key] / row["cpo"][key] for row in rounds)
            for key in ("tokens_per_second", "peak_memory_bytes", "training_memory_bytes")
        },
    }
    if not arguments.no_whole:
        found["whole"] = _whole(arguments, data, folder)
    return found


def _in_a_process(case: str, arguments: argparse.Namespace, data: Path) -> dict[str, float]:
    program = [sys.executable, "-m", "benchmarks.train_case", case, arguments.base, str(data)]
    program += [str(arguments.steps), str(arguments.batch_size), arguments.dtype]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TillerError(f"The case {case} failed: {done.stderr[-2000:]}", hint="Is TRL installed?")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _whole(arguments: argparse.Namespace, data: Path, folder: Path) -> dict[str, Any]:
    """Time what a person types, from start to the guide's folder, calibration included."""
    out = folder / "run"
    program = [sys.executable, "-m", "models.training.train", "--base", arguments.base, "--data", str(data)]
    program += ["--dimension", arguments.dimension, "--out", str(out), "--batch-size", str(arguments.batch_size)]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise TillerError(f"The run failed: {done.stderr[-2000:]}", hint="Run it by hand.")
    events = {event["event"]: event for event in read_progress(out)}
    kept = ("accuracy", "low", "high", "unit")
    return {
        "seconds": seconds,
        "processor_seconds": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
        "n_pairs_read": events["data"]["n_read"],
        "n_train": events["data"]["n_train"],
        "training_seconds": events["step"]["seconds"],
        "accuracy_before": events["before"]["accuracy"],
        **{name: events["finished"][name] for name in kept},
    }


def print_report(found: dict[str, Any]) -> None:
    """Print hardware, cases, ratios and, last, the report as one line of JSON."""
    for name, value in found["hardware"].items():
        print(f"{name}: {value}")
    for case, figures in found["cases"].items():
        print(
            f"{case}: {figures['tokens_per_second']:.0f} tokens/s, {figures['peak_memory_bytes'] / 1e6:.0f} MB at most"
        )
    for name, ratio in found["ratios"].items():
        print(f"{name}: {ratio:.2f}")
    if "whole" in found:
        whole = found["whole"]
        print(f"whole run: {whole['n_pairs_read']} pairs in {whole['seconds']:.0f} s ", end="")
        print(f"({whole['processor_seconds']:.0f} s of processor time), accuracy ", end="")
        print(f"{whole['accuracy_before']:.3f} before and {whole['accuracy']:.3f} after")
    print(json.dumps(found))


def _read(path: Path) -> list[str]:
    """The lines of a .jsonl file, which may be packed as .xz."""
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="utf-8") as file:
                return [line for line in file if line.strip()]
        with path.open(encoding="utf-8") as file:  # not splitlines, which cuts a row at U+2028, too
            return [f"{line.rstrip()}\n" for line in file if line.strip()]
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.", hint="Give a .jsonl or .jsonl.xz file.") from error


def _drawn(rows: list[str], n: int) -> list[str]:
    return random.Random(0).sample(rows, n) if n < len(rows) else rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="TRL preference rows, .jsonl or .jsonl.xz")
    parser.add_argument("--dimension", required=True, help="what they say of the chosen response")
    parser.add_argument("--base", default="demo", help="preset or folder (default: demo)")
    parser.add_argument("--pairs", type=at_least(1), default=2000, help="so many are drawn (default: 2000)")
    parser.add_argument("--steps", type=at_least(3), default=14, help="steps per case (default: 14)")
    parser.add_argument("--batch-size", type=at_least(1), default=16, help="pairs per step (default: 16)")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="rounds over both cases (default: 3)")
    parser.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of both (default: auto)"
    )
    parser.add_argument("--no-whole", action="store_true", help="leave the whole run out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
