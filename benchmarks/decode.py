"""How long a token takes: unguided alone, side by side, a grid of blends, many visitors, and the usual way.

    python -m benchmarks.decode --preset demo
    python -m benchmarks.decode --shape 7b --rounds 3 --tokens 64

Every round runs all cases in turn, so that a machine that slows down slows all of them; figures are medians over the
rounds, ratios are medians of the rounds' own ratios. Each prompt is new to the engine.

ms/token, min, max and tokens/s are of one answer between its first and its last token; all tok/s is of all answers from
the start to the last token; score is how long the guides then take to read the unguided answer; whole is everything.
The last line is one JSON document.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.cases import GROUPS, Cases, Plan, make_cases
from benchmarks.command_line import at_least, tell
from benchmarks.hardware import copy_bandwidth, describe, peak_memory_bytes
from benchmarks.report import print_report, ratios, summary
from benchmarks.shapes import SHAPES
from benchmarks.sources import Models, preset_models, shape_models
from models.options import StepPath
from models.presets import PRESET_NAMES, GuideSpec, Preset, Source, load_preset
from steering.errors import TillerError
from steering.types import Message, Role


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    try:
        plan = Plan(arguments.only, arguments.tokens, arguments.visitors, StepPath(arguments.path))
        cases = make_cases(_models(arguments), plan)
        report = measure(cases, arguments.rounds, arguments.warm_ups)
    except TillerError as error:
        return tell("benchmarks.decode", error)
    print_report(report)
    return 0


def measure(cases: Cases, n_rounds: int, n_warm_ups: int) -> dict[str, Any]:
    """Run every case ``n_warm_ups`` times for allocators, kernels and recordings, then time it ``n_rounds`` times."""
    for _ in range(n_warm_ups):
        for case in cases.runs.values():
            case()
    rounds = [{name: case() for name, case in cases.runs.items()} for _ in range(n_rounds)]
    device = cases.models.device
    bandwidth = copy_bandwidth(device)
    # an engine without guides reads the base's weights and nothing else
    base_bytes = cases.engines[min(cases.engines)].weight_bytes
    floor = base_bytes / bandwidth
    prompt = cases.main.prompt_token_ids([Message(Role.USER, cases.prompt())])
    return {
        "benchmark": "decode",
        "command": " ".join(["python -m benchmarks.decode", *sys.argv[1:]]),
        "hardware": describe(device),
        "model": {
            "base": cases.models.name,
            "dtype": cases.main.base.dtype,
            "base_bytes": base_bytes,
            "base_bytes_with_guides": min(cases.engines),
        },
        "path": cases.plan.path.value,
        "n_prompt_tokens": len(prompt),
        "n_tokens": cases.plan.n_tokens,
        "n_rounds": n_rounds,
        "copy_bytes_per_second": bandwidth,
        "floor_ms": 1000 * floor,
        "engine_bytes": {str(number): n_bytes for number, n_bytes in cases.engine_bytes.items()},
        "peak_memory_bytes": peak_memory_bytes(device),
        "cases": {name: summary([row[name] for row in rounds]) for name in cases.runs},
        "ratios": ratios(rounds, cases.n_guides, floor),
    }


def _models(arguments: argparse.Namespace) -> Models:
    if arguments.folder is not None:
        preset = _folders(arguments.folder, arguments.guide)
        return preset_models(preset, arguments.device, arguments.dtype)
    if arguments.shape is None:
        preset = load_preset(None if arguments.config else arguments.preset, arguments.config)
        return preset_models(preset, arguments.device, arguments.dtype)
    shape = SHAPES[arguments.shape]
    if arguments.layers:
        shape = replace(shape, num_hidden_layers=arguments.layers)
    return shape_models(arguments.shape, shape, arguments.device, arguments.dtype)


def _folders(base: Path, guides: Sequence[Path]) -> Preset:
    sources = [Source(str(folder.resolve())) for folder in (base, *guides)]
    specs = [GuideSpec(source, dimension=f"guide {number}") for number, source in enumerate(sources[1:], start=1)]
    return Preset(base.name, sources[0], tuple(specs))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", choices=PRESET_NAMES, default="demo", help="built-in models (default: demo)")
    source.add_argument("--config", type=Path, help="TOML file naming a base model and its guides, folders or Hub ids")
    source.add_argument("--folder", type=Path, help="a base model in a local folder; its guides by --guide")
    source.add_argument("--shape", choices=SHAPES, help="random weights of this shape with four LoRA guides")
    parser.add_argument("--guide", type=Path, action="append", default=[], help="folder of a guide; may be repeated")
    parser.add_argument("--layers", type=at_least(1), help="fewer layers than the shape has, to try it")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--path", choices=[path.value for path in StepPath], default="auto", help="how steps are taken")
    parser.add_argument("--tokens", type=at_least(2), default=64, help="tokens per answer (default: 64)")
    parser.add_argument("--rounds", type=at_least(1), default=7, help="rounds over all cases (default: 7)")
    parser.add_argument("--warm-ups", type=at_least(1), default=2, help="the same before anything counts (default: 2)")
    parser.add_argument(
        "--visitors", type=_numbers, default=Plan.visitors, help="how many at once (default: 1,2,4,8,16,32,64)"
    )
    parser.add_argument("--only", type=_groups, default=GROUPS, help=f"some of {','.join(GROUPS)} (default: all)")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(at_least(1)(part) for part in text.split(","))


def _groups(text: str) -> tuple[str, ...]:
    groups = tuple(text.split(","))
    if unknown := [group for group in groups if group not in GROUPS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(GROUPS)}")
    return groups


if __name__ == "__main__":
    sys.exit(main())
