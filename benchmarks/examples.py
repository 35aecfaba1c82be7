"""Which prompts show best what the embedded model's sliders do: python -m benchmarks.examples --data DIR --judges DIR

The candidates are the lines of --candidates; one whose words are a turn of any training text or a prompt of any pair is
left out. Each is answered unguided and with each guide alone, several times; its effect is how much the score of each
guide's own judge rises, in standard deviations of the unguided answers' scores, both added. The last line is one JSON
document. --judges is what `benchmarks.sliders` made.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import at_least, tell
from benchmarks.slider_answers import (
    HARMLESSNESS,
    HELPFULNESS,
    Judged,
    Prompt,
    Weights,
    answer_all,
    judge_all,
    standard_deviation,
)
from models.assembly import load_engine
from models.demo.build.documents import NAME
from models.demo.build.rows import plain_words, read_rows
from models.options import EngineOptions
from models.presets import load_preset
from models.training.reward_model import load_reward
from steering.errors import InputError, TillerError
from steering.types import Message, Role

_CANDIDATES = Path(__file__).with_name("example_prompts.txt")
_UNGUIDED: Weights = (0.0, 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print, the best first; returns the exit code: 0, 2 for bad input, 1 for every other trouble."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    try:
        lines = [
            line.strip() for path in arguments.candidates for line in path.read_text(encoding="utf-8").splitlines()
        ]
        candidates = list(dict.fromkeys(filter(None, lines)))
        unseen = not_seen(candidates, arguments.data)
        found = measure(unseen, arguments)
    except (OSError, UnicodeDecodeError) as error:
        print(f"benchmarks.examples: {error}", file=sys.stderr)
        return 2
    except TillerError as error:
        return tell("benchmarks.examples", error)
    for row in found:
        print(f"{row['effect']:6.2f}  {row[HELPFULNESS]:6.2f}  {row[HARMLESSNESS]:6.2f}  {row['prompt']}")
    report = {"benchmark": "examples", "weight": arguments.weight, "n_seeds": arguments.seeds}
    print(json.dumps(report | {"n_seen": len(candidates) - len(unseen), "examples": found}))
    return 0


def not_seen(candidates: Sequence[str], data: Path) -> list[str]:
    """The candidates whose words are no turn of a training document and no turn of a pair's prompt.

    Raises:
        InputError: the data are missing or damaged, or nothing is left.
    """
    words = {plain_words(candidate): candidate for candidate in candidates}
    for text in _turns(data):
        words.pop(plain_words(text), None)
    if not words:
        raise InputError("Every candidate is in the training data.", hint="Give others with --candidates.")
    return list(words.values())


def effects(judged: Sequence[Judged], weight: float) -> list[dict[str, Any]]:
    """Each prompt's effect, the largest first: both guides' mean gain with their own judge in standard deviations."""
    spreads = {
        name: standard_deviation([each.scores[name] for each in judged if each.weights == _UNGUIDED])
        for name in (HELPFULNESS, HARMLESSNESS)
    }
    guided: Mapping[str, Weights] = {HELPFULNESS: (weight, 0.0), HARMLESSNESS: (0.0, weight)}
    rows = []
    for prompt in {id(each.prompt): each.prompt for each in judged}.values():
        mine = [each for each in judged if each.prompt is prompt]
        gains = {
            name: (_mean(mine, weights, name) - _mean(mine, _UNGUIDED, name)) / spreads[name]
            for name, weights in guided.items()
        }
        texts = {
            str(weights): next(e.text for e in mine if e.weights == weights)
            for weights in (_UNGUIDED, *guided.values())
        }
        said = prompt.messages[-1].content
        rounded = {name: round(gain, 3) for name, gain in gains.items()}
        rows.append({"prompt": said, "effect": round(sum(gains.values()), 3), **rounded, "texts": texts})
    return sorted(rows, key=lambda row: -float(row["effect"]))


def measure(candidates: Sequence[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Answer, judge and rank the candidates."""
    judges = {name: load_reward(arguments.judges / name) for name in (HELPFULNESS, HARMLESSNESS)}
    engine = load_engine(load_preset("demo"), options=EngineOptions(max_waiting=10_000, time_limit_seconds=3600))
    prompts = [Prompt((Message(Role.USER, text),), "candidate", "", "") for text in candidates]
    blends: list[Weights] = [_UNGUIDED, (arguments.weight, 0.0), (0.0, arguments.weight)]
    judged = []
    for seed in range(arguments.seeds):
        asked = [(prompt, blends) for prompt in prompts]
        judged += judge_all(asked, answer_all(engine, asked, arguments.tokens, seed), judges)
    engine.close()
    return effects(judged, arguments.weight)


def _mean(judged: Sequence[Judged], weights: Weights, name: str) -> float:
    scores = [each.scores[name] for each in judged if each.weights == weights]
    return sum(scores) / len(scores)


def _turns(data: Path) -> Iterator[str]:
    for row in read_rows(data, NAME):
        yield from (message["content"] for message in row.get("messages", []))
    for dimension in (HELPFULNESS, HARMLESSNESS):
        for row in read_rows(data, f"pairs_{dimension}.jsonl"):
            yield from (message["content"] for message in row["prompt"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data of models.demo.build")
    parser.add_argument("--judges", type=Path, required=True, help="folder of the judges")
    parser.add_argument(
        "--candidates", type=Path, nargs="+", default=[_CANDIDATES], help="files of prompts, one a line (default: ours)"
    )
    parser.add_argument("--weight", type=float, default=2.0, help="of the guide that is on (default: 2)")
    parser.add_argument("--seeds", type=at_least(1), default=4, help="answers per prompt and guide (default: 4)")
    parser.add_argument("--tokens", type=at_least(1), default=60, help="longest answer (default: 60)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
