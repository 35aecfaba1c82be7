"""A preset's models as loaded: what an engine is assembled from."""

import logging
import sys
from dataclasses import dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from models.adapters import LoraWeights, read_lora
from models.answers import GuideInfo
from models.guides import GuideCard, check_hash, hash_files, read_card
from models.loading import Placement, choose_placement, fetch, load_model, load_tokenizer, told_as_load_error
from models.members import Group
from models.presets import GuideSpec, Preset
from steering.errors import LoadError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GuideParts:
    """A guide: either LoRA factors, or a model of its own with its tokenizer; ``group`` once that can be decoded."""

    info: GuideInfo
    lora: LoraWeights | None = None
    model: PreTrainedModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    chat_template: str | None = None
    group: Group | None = None


@dataclass(frozen=True)
class Parts:
    """A base model with its guides; ``chat_template`` None is the tokenizer's own."""

    base_id: str
    revision: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    guides: tuple[GuideParts, ...]
    chat_template: str | None = None
    examples: tuple[str, ...] = ()


def load_parts(preset: Preset, *, device: str = "auto", dtype: str = "auto") -> Parts:
    """Load a preset's models; see :func:`models.assembly.load_engine`.

    Raises:
        LoadError: something is missing, damaged or gated.
        CapacityError: the memory does not suffice.
    """
    placement = choose_placement(device, dtype, preset.dtype)
    parts = load_base(preset, placement)
    return replace(parts, guides=tuple(load_guide(spec, placement) for spec in preset.guides))


def load_base(preset: Preset, placement: Placement) -> Parts:
    """Load a preset's base model, without its guides.

    Raises:
        LoadError: something is missing, damaged or gated.
        CapacityError: the memory does not suffice.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    name = str(placement.dtype).removeprefix("torch.")
    logger.info("Running on %s in %s: %s.", placement.device, name, placement.reason)
    with told_as_load_error(f"The model {preset.base.label}"):
        folder = fetch(preset.base)
        sha256 = hash_files(folder) if preset.base.folder else ""
    return Parts(
        base_id=preset.base.label,
        revision=f"sha256:{sha256}" if sha256 else folder.name,
        model=load_model(folder, placement),
        tokenizer=load_tokenizer(folder),
        guides=(),
        chat_template=preset.chat_template,
        examples=preset.examples,
    )


def load_guide(spec: GuideSpec, placement: Placement) -> GuideParts:
    """Load one guide.

    Raises:
        LoadError: something is missing, damaged or gated, or its files are not those its card was written for.
        CapacityError: the memory does not suffice.
    """
    with told_as_load_error(f"The guide {spec.source.label}"):
        folder = fetch(spec.source)
        sha256 = check_hash(folder)
    card = read_card(folder)
    if (folder / "adapter_config.json").exists():
        with told_as_load_error(f"The adapter in {folder}"):
            lora = read_lora(folder)
        return GuideParts(_guide_info(spec, card, sha256, "lora"), lora=lora, chat_template=spec.chat_template)
    model, tokenizer = load_model(folder, placement), load_tokenizer(folder)
    info = _guide_info(spec, card, sha256, "model")
    return GuideParts(info, model=model, tokenizer=tokenizer, chat_template=spec.chat_template)


def _guide_info(spec: GuideSpec, card: GuideCard, sha256: str, kind: str) -> GuideInfo:
    dimension = spec.dimension or card.dimension
    name = card.id or spec.source.label
    if not dimension:
        raise LoadError(
            f"The guide {name!r} does not say its dimension.",
            hint="Give dimension in the configuration, or --dimension.",
        )
    unit = spec.unit if spec.unit is not None else card.unit if card.unit is not None else 1.0
    if not 0 < unit < float("inf"):
        raise LoadError(f"The unit of the guide {name!r} is {unit!r}; it must be above 0.", hint="Use 1.0 if unsure.")
    return GuideInfo(
        id=name,
        dimension=dimension,
        unit=float(unit),
        sha256=sha256,
        kind=kind,
        version=card.version,
        beta=card.beta,
        n_pairs=card.n_pairs,
        held_out_accuracy=card.held_out_accuracy,
        licence=card.licence,
    )
