"""What rounds of timings come to: medians, ratios within a round, a table, and one line of JSON."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.cases import (
    BARE,
    GUIDED,
    UNGUIDED,
    USUAL_GUIDED,
    USUAL_SIDE,
    grid,
    side_by_side,
    together,
)
from benchmarks.timing import Timing

Round = Mapping[str, Timing]


def summary(runs: Sequence[Timing]) -> dict[str, float]:
    """Return one case's figures, medians over its runs; seconds have become milliseconds.

    ``tokens_per_second`` is of one answer between its first and last token, ``all_tokens_per_second`` of all answers
    from the start of the run to the last token of the last.
    """
    per_token = [1000 * run.per_token for run in runs]
    return {
        "ms_per_token": statistics.median(per_token),
        "ms_per_token_min": min(per_token),
        "ms_per_token_max": max(per_token),
        "tokens_per_second": 1000 / statistics.median(per_token),
        "all_tokens_per_second": statistics.median(run.n_tokens / run.to_last for run in runs),
        "ms_to_first_token": 1000 * statistics.median(run.to_first for run in runs),
        "ms_to_last_token": 1000 * statistics.median(run.to_last for run in runs),
        "ms_to_score": 1000 * statistics.median(run.whole - run.to_last for run in runs),
        "ms_whole": 1000 * statistics.median(run.whole for run in runs),
    }


def ratios(rounds: Sequence[Round], n_guides: int, floor_seconds: float | None) -> dict[str, float]:
    """Return what the cases are to one another: medians over the rounds of each round's own ratio.

    Per token where nothing else is said; ``whole`` is from the start to where nothing more came. ``floor_seconds`` is
    what reading the base's weights once takes; None where it was not measured.
    """
    side = side_by_side(n_guides)

    def per_token(run: Timing) -> float:
        return run.per_token

    def whole(run: Timing) -> float:
        return run.whole

    def rate(run: Timing) -> float:
        return run.n_tokens / run.to_last

    def rate_whole(run: Timing) -> float:
        return run.n_tokens / run.whole

    wanted: list[tuple[str, str, str, Callable[[Timing], float]]] = [
        (f"{name} / {UNGUIDED}", name, UNGUIDED, per_token) for name in map(side_by_side, (1, 2, 4))
    ]
    wanted.append((f"{side} / {BARE}", side, BARE, per_token))
    wanted.append((f"whole: {side} / {UNGUIDED}", side, UNGUIDED, whole))
    wanted += [(f"{grid(n)} / {side}", grid(n), side, per_token) for n in (5, 9)]
    wanted.append((f"whole: {grid(5)} / {side}", grid(5), side, whole))
    wanted.append((f"{USUAL_GUIDED} / {GUIDED}", USUAL_GUIDED, GUIDED, per_token))
    wanted.append((f"{USUAL_SIDE} / {side}", USUAL_SIDE, side, per_token))
    wanted.append((f"whole: {USUAL_GUIDED} / {GUIDED}", USUAL_GUIDED, GUIDED, whole))
    wanted.append((f"whole: {USUAL_SIDE} / {side}", USUAL_SIDE, side, whole))
    many = [name for name in rounds[0] if name.endswith(" visitors, side by side")]
    for name in many:
        wanted.append((f"all tokens/s: {name} / {together(1)}", name, together(1), rate))
        wanted.append((f"all tokens/s, scores included: {name} / {together(1)}", name, together(1), rate_whole))
    found = {
        title: statistics.median(figure(row[over]) / figure(row[under]) for row in rounds)
        for title, over, under, figure in wanted
        if over in rounds[0] and under in rounds[0]
    }
    for name in (BARE, UNGUIDED):
        if floor_seconds and name in rounds[0]:
            found[f"{name} / reading the weights"] = (
                statistics.median(row[name].per_token for row in rounds) / floor_seconds
            )
    return found


_COLUMNS = (
    ("ms/token", "ms_per_token", 2),
    ("min", "ms_per_token_min", 2),
    ("max", "ms_per_token_max", 2),
    ("tokens/s", "tokens_per_second", 1),
    ("all tok/s", "all_tokens_per_second", 1),
    ("first, ms", "ms_to_first_token", 1),
    ("score, ms", "ms_to_score", 1),
    ("whole, ms", "ms_whole", 1),
)


def print_report(report: Mapping[str, Any]) -> None:
    """Print hardware, a table of cases, the ratios and, last, the report as one line of JSON."""
    for name, value in report["hardware"].items():
        print(f"{name}: {value}")
    model = report["model"]
    print(
        f"model: {model['base']} in {model['dtype']}, {report['path']} steps; {report['n_prompt_tokens']} prompt and ",
        end="",
    )
    print(f"{report['n_tokens']} answer tokens; {report['n_rounds']} rounds")
    print(f"memory copies {report['copy_bytes_per_second'] / 1e9:.1f} GB/s; ", end="")
    print(f"reading the base's weights ({model['base_bytes'] / 1e9:.2f} GB) once takes {report['floor_ms']:.3f} ms")
    held = ", ".join(f"{n} guides {n_bytes / 1e9:.2f} GB" for n, n_bytes in report["engine_bytes"].items())
    print(f"engines: {held}; peak memory {report['peak_memory_bytes'] / 1e9:.2f} GB, the usual way's models included")
    print(f"\n{'case':<28}" + "".join(f"{title:>11}" for title, _, _ in _COLUMNS))
    for name, case in report["cases"].items():
        print(f"{name:<28}" + "".join(f"{case[key]:>11.{digits}f}" for _, key, digits in _COLUMNS))
    print()
    for name, ratio in report["ratios"].items():
        print(f"{name}: {ratio:.2f}")
    print(json.dumps(report))
