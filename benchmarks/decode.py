"""How long a token takes: unguided alone, side by side, a grid of blends, and the usual way.

    python -m benchmarks.decode --preset demo

Every round runs all cases in turn, so that a machine that slows down slows all of them; figures are medians over the
rounds, ratios are medians of the rounds' own ratios. The last line is one JSON document.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.hardware import copy_bandwidth, describe, peak_memory_bytes, synchronize
from benchmarks.usual import UsualWay
from models.answers import ComparisonRequest
from models.assembly import load_engine
from models.engine import Engine
from models.presets import PRESET_NAMES, Preset, load_preset
from steering.errors import TillerError
from steering.types import Blend, Message, Role, SamplingSettings

_N_TOP = 5
_PROMPT = "How can I make friends in a town that is new to me?"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", choices=PRESET_NAMES, default="demo", help="built-in models (default: demo)")
    source.add_argument("--config", type=Path, help="TOML file naming a base model and its guides")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--tokens", type=int, default=64, help="tokens per answer (default: 64)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds over all cases (default: 7)")
    parser.add_argument(
        "--no-usual", action="store_true", help="leave out the usual way, which loads every model again"
    )
    arguments = parser.parse_args(argv)
    try:
        preset = load_preset(None if arguments.config else arguments.preset, arguments.config)
        engine = load_engine(preset, device=arguments.device, dtype=arguments.dtype)
    except TillerError as error:
        print(f"benchmarks.decode: {error}", file=sys.stderr)
        return 1
    report = measure(engine, preset, arguments.tokens, arguments.rounds, with_usual=not arguments.no_usual)
    print_report(report)
    return 0


def measure(engine: Engine, preset: Preset, n_tokens: int, n_rounds: int, *, with_usual: bool) -> dict[str, Any]:
    """Time every case ``n_rounds`` times; returns the report that is printed."""
    device = torch.device(engine.base.device)
    dimensions = [guide.dimension for guide in engine.guides]
    guided = Blend(dict.fromkeys(dimensions, 1.0))
    cases: dict[str, Callable[[], Timing]] = {
        "unguided alone": lambda: run(engine, [Blend()], n_tokens, score=False),
        "side by side": lambda: run(engine, [Blend(), guided], n_tokens),
    }
    for size in (5, 9):
        blends = [Blend(dict.fromkeys(dimensions, 4 * index / size)) for index in range(size)]
        cases[f"grid of {size}"] = lambda blends=blends: run(engine, blends, n_tokens)  # type: ignore[misc]
    if with_usual:
        usual = UsualWay(preset, getattr(torch, engine.base.dtype), device)
        prompt, exponents = engine.prompt_token_ids(_messages()), list(engine.exponents(guided).values())
        cases["the usual way"] = lambda: _timed(
            lambda: usual.side_by_side(prompt, n_tokens, exponents), n_tokens, device
        )
    for case in cases.values():
        case()  # warm up: allocators, kernels
    rounds = [{name: case() for name, case in cases.items()} for _ in range(n_rounds)]
    bandwidth = copy_bandwidth(device)
    weights = engine.weight_bytes
    return {
        "benchmark": "decode",
        "hardware": describe(device),
        "model": {"base": engine.base.id, "dtype": engine.base.dtype, "n_guides": len(dimensions), "bytes": weights},
        "n_tokens": n_tokens,
        "n_rounds": n_rounds,
        "copy_bytes_per_second": bandwidth,
        "floor_ms_per_token": 1000 * weights / bandwidth,
        "peak_memory_bytes": peak_memory_bytes(device),
        "cases": {name: _summary([row[name] for row in rounds]) for name in cases},
        "ratios": _ratios(rounds),
    }


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: to the first token, per token after it, and from the last until the guides have scored."""

    per_token: float
    to_first: float = 0.0
    to_score: float = 0.0


def run(engine: Engine, blends: Sequence[Blend], n_tokens: int, *, score: bool = True) -> Timing:
    """Time one comparison, sampled and traced as on the page.

    Answers do not stop at EOS, so that every case decodes as many tokens; without ``score`` no guide does anything.
    """
    sampling = SamplingSettings(max_new_tokens=n_tokens, stop_at_eos=False)
    request = ComparisonRequest(_messages(), tuple(blends), sampling, _N_TOP, score)
    start = time.perf_counter()
    times: list[float] = []
    for progress in engine.compare(request):
        if progress.n_tokens > len(times):
            times.append(time.perf_counter() - start)
    return Timing((times[-1] - times[0]) / (n_tokens - 1), times[0], time.perf_counter() - start - times[-1])


def _timed(work: Callable[[], None], n_tokens: int, device: torch.device) -> Timing:
    start = time.perf_counter()
    work()
    synchronize(device)
    return Timing((time.perf_counter() - start) / n_tokens)


def _messages() -> tuple[Message, ...]:
    return (Message(Role.USER, _PROMPT),)


def _summary(runs: Sequence[Timing]) -> dict[str, float]:
    per_token = [1000 * timing.per_token for timing in runs]
    return {
        "ms_per_token": statistics.median(per_token),
        "ms_per_token_min": min(per_token),
        "ms_per_token_max": max(per_token),
        "tokens_per_second": 1000 / statistics.median(per_token),
        "ms_to_first_token": 1000 * statistics.median(timing.to_first for timing in runs),
        "ms_to_score": 1000 * statistics.median(timing.to_score for timing in runs),
    }


def _ratios(rounds: Sequence[dict[str, Timing]]) -> dict[str, float]:
    """Medians over rounds of one case's time per token over another's of the same round."""
    pairs = {
        "side by side / unguided alone": ("side by side", "unguided alone"),
        "grid of 5 / side by side": ("grid of 5", "side by side"),
        "grid of 9 / side by side": ("grid of 9", "side by side"),
        "the usual way / side by side": ("the usual way", "side by side"),
    }
    return {
        name: statistics.median(row[over].per_token / row[under].per_token for row in rounds)
        for name, (over, under) in pairs.items()
        if over in rounds[0]
    }


def print_report(report: dict[str, Any]) -> None:
    """Print hardware, a table of cases, the ratios and, last, the report as one line of JSON."""
    for name, value in report["hardware"].items():
        print(f"{name}: {value}")
    print(f"model: {report['model']['base']} in {report['model']['dtype']}, {report['model']['n_guides']} guides")
    print(f"memory copies {report['copy_bytes_per_second'] / 1e9:.1f} GB/s; ", end="")
    print(f"reading the weights once takes {report['floor_ms_per_token']:.2f} ms")
    print(f"\n{'case':<20}{'ms/token':>10}{'min':>8}{'max':>8}{'tokens/s':>10}{'first, ms':>11}{'score, ms':>11}")
    for name, case in report["cases"].items():
        row = (case["ms_per_token"], case["ms_per_token_min"], case["ms_per_token_max"])
        print(f"{name:<20}{row[0]:>10.2f}{row[1]:>8.2f}{row[2]:>8.2f}", end="")
        print(f"{case['tokens_per_second']:>10.1f}{case['ms_to_first_token']:>11.1f}{case['ms_to_score']:>11.1f}")
    print()
    for name, ratio in report["ratios"].items():
        print(f"{name}: {ratio:.2f}")
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
