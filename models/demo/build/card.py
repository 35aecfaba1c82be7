"""The model card of a build, from what its steps found."""

import json
from collections.abc import Mapping
from typing import Any

from models.demo.build.settings import DIMENSIONS, BuildSettings


def card_text(settings: BuildSettings, found: Mapping[str, Any], n_bytes: int, command: str) -> str:
    """Return the card as Markdown; ``found`` has by step what it found."""
    documents, tokens, base = found["documents"], found["tokenizer"], found["base"]
    if settings.base:
        training = "It was taken as it was; whether it has read the held-out documents is not known."
    else:
        training = (
            f"Read {base['n_tokens_read']:,} tokens in {base['n_steps']:,} steps on {base['device']} "
            f"({base['seconds']:.0f} s); the data have {tokens['n_train_tokens']:,}."
        )
    lines = [
        f"# The embedded model, size {settings.size}" if settings.base is None else "# Guides of the embedded model",
        "",
        f"    {command}",
        "",
        f"Base: {base['n_parameters']:,} parameters, {base['n_layers']} layers, width {base['width']}, vocabulary of "
        f"{tokens['n_vocabulary']:,} tokens, context {base['context_length']:,}. {training} Validation loss "
        f"{base['validation_loss']:.3f} nats a token over {documents['n_validation']:,} held-out documents. All "
        f"weights with both guides: {n_bytes / 1e6:.1f} MB.",
        "",
        "| guide | pairs | held-out pair accuracy | 95 % interval | held-out pairs | base alone | longer wins | unit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dimension in DIMENSIONS:
        guide = found[f"guide_{dimension}"]
        low, high = guide["interval"]
        lines.append(
            f"| {dimension} | {guide['n_pairs']:,} | {guide['accuracy']:.3f} | {low:.3f} to {high:.3f} | "
            f"{guide['n_held_out']} | {guide['before']:.3f} | {guide['longer_wins']:.3f} | {guide['unit']:.3f} |"
        )
    lines += [
        "",
        "Guides are trained on one half of the prompts; the other half is left for judges (models.training.reward). "
        "The prompts that are tested on are in neither half, and in no document that a base trained here reads.",
        "",
        "## Data",
        "",
        f"Documents: {documents['n_read']:,} read, {_left_out(documents)}; {documents['n_train']:,} to train on.",
        "",
        *_pair_lines(found["pairs"]),
        "",
        "| source | licence | documents |",
        "|---|---|---|",
        *(f"| {source} | {licence} | {count:,} |" for source, licence, count in documents["sources"]),
        "",
        "## Settings",
        "",
        "```json",
        json.dumps(settings.as_json(), indent=1),
        "```",
        "",
    ]
    return "\n".join(lines)


def _pair_lines(found: Mapping[str, Any]) -> list[str]:
    lines = ["| pairs of | read | for guides | for judges | tested | left out |", "|---|---|---|---|---|---|"]
    for dimension in DIMENSIONS:
        part = found[dimension]
        counts = " | ".join(f"{part['pairs'][name]:,} ({part['prompts'][name]:,} prompts)" for name in _PARTS)
        lines.append(f"| {dimension} | {part['n_read']:,} | {counts} | {_left_out(part)} |")
    return lines


_PARTS = ("guides", "judges", "test")


def _left_out(found: Mapping[str, Any]) -> str:
    reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in found["left_out"].items()]
    return "left out: " + (", ".join(reasons) or "none")
