"""What is measured: a preset's models or a random shape's, with any number of its guides, each time made afresh."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.shapes import N_GUIDES, Shape, make_guide, make_model, make_parts, merge
from models.loading import choose_placement, fetch
from models.parts import Parts, load_parts
from models.presets import Preset


@dataclass(frozen=True)
class Models:
    """A base model with its guides, first to last.

    Args:
        name: what reports call it.
        device: where it runs.
        n_guides: how many guides there are.
        parts: makes the base with so many guides, for an engine, which takes their weights over.
        alone: makes the base, or with a number the model that guide is by itself, for decoding the usual way.
    """

    name: str
    device: torch.device
    n_guides: int
    parts: Callable[[int], Parts]
    alone: Callable[[int | None], PreTrainedModel]


def preset_models(preset: Preset, device: str, dtype: str) -> Models:
    """The models of a preset; LoRA guides alone are merged, which is their fastest form.

    Raises:
        LoadError: the device or dtype is unknown or not there.
    """
    placement = choose_placement(device, dtype, preset.dtype)

    def parts(n_guides: int) -> Parts:
        return load_parts(replace(preset, guides=preset.guides[:n_guides]), device=device, dtype=dtype)

    def load(folder: Path) -> PreTrainedModel:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=placement.dtype)
        return cast(PreTrainedModel, model.to(placement.device).eval())

    def alone(guide: int | None) -> PreTrainedModel:
        if guide is None:
            return load(fetch(preset.base))
        folder = fetch(preset.guides[guide].source)
        if not (folder / "adapter_config.json").exists():
            return load(folder)
        merged: Any = PeftModel.from_pretrained(load(fetch(preset.base)), folder)
        return cast(PreTrainedModel, merged.merge_and_unload())

    return Models(preset.name, placement.device, len(preset.guides), parts, alone)


def shape_models(name: str, shape: Shape, device: str, dtype: str) -> Models:
    """Random models of a shape with four guides.

    Raises:
        LoadError: the device or dtype is unknown or not there.
    """
    placement = choose_placement(device, dtype)

    def alone(guide: int | None) -> PreTrainedModel:
        model = make_model(shape, placement)
        return model if guide is None else merge(model, make_guide(shape, guide))

    def parts(n_guides: int) -> Parts:
        return make_parts(name, shape, placement, n_guides)

    return Models(f"random-{name}", placement.device, N_GUIDES, parts, alone)
