"""How a new version of a guide does against the old one; a program of its own, so that visitors are not kept waiting.

Both read the held-out pairs, and both steer answers to a fixed set of prompts with the same seeds.
"""

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from models.answers import Answer, ComparisonRequest
from models.assembly import assemble
from models.files import write_whole
from models.loading import Placement, choose_placement
from models.options import EngineOptions
from models.parts import GuideParts, load_base, load_guide
from models.presets import Preset, load_preset
from models.training.evaluate import wilson
from models.training.rows import read_rows
from models.versions.comparing import Pair, compare_on_pairs
from models.versions.registry import Registry, Version
from models.versions.starting import open_registry
from steering.types import Blend, SamplingSettings
from ui.prompt_files import built_in_prompts

PROMPT_SET = "mixed"
N_TOKENS = 60
SEED = 1000
OLD, NEW = "old", "new"
_PAIRS_FILE = "pairs.jsonl"
_MEMORY_FRACTION = 0.2  # the engine that answers everybody is beside it


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two versions and write what was found as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ui.guides.assess", description=__doc__)
    add = parser.add_argument
    add("--home", type=Path, required=True, help="folder with the versions of guides")
    add("--preset", help="built-in base model")
    add("--config", type=Path, help="TOML file naming a base model")
    add("--dimension", required=True)
    add("--new", type=int, required=True, help="number of the new version")
    add("--old", type=int, help="number of the old version; without, the base model")
    add("--data", type=Path, required=True, help="the judgements the new version was trained and tested on")
    add("--guide", type=Path, required=True, help="the training's own guide, which says what was held out")
    add("--out", type=Path, required=True, help="file to write")
    arguments = parser.parse_args(argv)
    preset = load_preset(arguments.preset, arguments.config)
    registry = open_registry(arguments.home, preset)
    new = registry.version(arguments.dimension, arguments.new)
    old = None if arguments.old is None else registry.version(arguments.dimension, arguments.old)
    placement = choose_placement("auto", "auto", preset.dtype)
    found = {
        "new": new.number,
        "old": None if old is None else old.number,
        "pairs": on_pairs(preset, placement, (old, new), held_out(arguments.data, arguments.guide, new.dimension, old)),
        "prompts": on_prompts(preset, placement, registry, (old, new)),
    }
    write_whole(arguments.out, json.dumps(found, indent=1) + "\n")
    return 0


def held_out(data: Path, guide: Path, dimension: str, old: Version | None) -> list[Pair]:
    """The pairs the new version was tested on; those that the old one was trained on are left out."""
    lines = [json.loads(line) for line in (guide / _PAIRS_FILE).read_text(encoding="utf-8").splitlines()]
    wanted = {line["id"] for line in lines if line["half"] == "held_out"} - set(old.card.data_ids if old else ())
    return [
        Pair(each.messages, each.chosen, each.rejected)
        for each in read_rows([data], dimension).train
        if each.id in wanted and each.chosen is not None and each.rejected is not None
    ]


def on_pairs(
    preset: Preset, placement: Placement, versions: tuple[Version | None, Version], pairs: Sequence[Pair]
) -> dict[str, Any]:
    """How often each is right about the pairs, and how likely so unequal a split is by chance (McNemar, exact)."""
    old, new = versions
    if old is None or not pairs:
        return {"n_pairs": len(pairs)}
    base = load_base(preset, placement)
    test = compare_on_pairs(base, load_guide(old.spec, placement), load_guide(new.spec, placement), pairs)
    del base
    gc.collect()
    shares = {"old": test.accuracy_a, "new": test.accuracy_b}
    intervals = {name: wilson(share, test.n_pairs) for name, share in shares.items()}
    return {
        "n_pairs": test.n_pairs,
        "accuracy": shares,
        "interval": intervals,
        "n_only_old": test.n_only_a,
        "n_only_new": test.n_only_b,
        "p_value": test.p_value,
    }


def on_prompts(
    preset: Preset, placement: Placement, registry: Registry, versions: tuple[Version | None, Version]
) -> dict[str, Any]:
    """What answers steered by each, at weight 1, are like."""
    old, new = versions
    others = [
        load_guide(version.spec, placement)
        for dimension in registry.dimensions
        if dimension != new.dimension and (version := registry.active(dimension)) is not None
    ]
    named = [(OLD, old), (NEW, new)]
    own = [_called(load_guide(version.spec, placement), name) for name, version in named if version is not None]
    options = EngineOptions(in_background=False, memory_fraction=_MEMORY_FRACTION)
    engine = assemble(replace(load_base(preset, placement), guides=(*others, *own)), options)
    blends = (Blend({OLD: 1.0}) if old else Blend(), Blend({NEW: 1.0}))
    answers: list[tuple[Answer, ...]] = []
    for number, prompt in enumerate(built_in_prompts(PROMPT_SET)):
        sampling = SamplingSettings(max_new_tokens=N_TOKENS, seed=SEED + number)
        *_, last = engine.compare(ComparisonRequest(prompt, blends, sampling))
        answers.append(last.answers())
    engine.close()
    dimensions = [guide.dimension for guide in engine.guides]
    figures = {name: figures_of([pair[side] for pair in answers], dimensions) for side, name in enumerate((OLD, NEW))}
    return {"n_prompts": len(answers), "n_tokens": N_TOKENS, **figures}


def figures_of(answers: Sequence[Answer], dimensions: Sequence[str]) -> dict[str, Any]:
    """Means over answers: KL per token, tokens, the share of distinct words and word pairs, each guide's reward."""
    written = [answer for answer in answers if answer.steps]
    words = [answer.text.split() for answer in written]
    rewards = {
        dimension: _mean([answer.guide_rewards[dimension] for answer in written if answer.guide_rewards])
        for dimension in dimensions
    }
    return {
        "kl_per_token": _mean([answer.kl_per_token or 0.0 for answer in written]),
        "n_tokens": _mean([float(len(answer.token_ids)) for answer in answers]),
        "distinct_1": _distinct([[(word,) for word in each] for each in words]),
        "distinct_2": _distinct([list(pairwise(each)) for each in words]),
        "rewards": rewards,
    }


def _called(guide: GuideParts, name: str) -> GuideParts:
    return replace(guide, info=replace(guide.info, dimension=name))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _distinct(texts: Sequence[Sequence[tuple[str, ...]]]) -> float | None:
    """The share of different n-grams among all."""
    grams = [gram for text in texts for gram in text]
    return len(set(grams)) / len(grams) if grams else None


if __name__ == "__main__":
    sys.exit(main())
