"""Putting an engine together: a preset becomes models on a device, checked before anyone relies on them."""

import logging
import sys
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from models.adapters import LoraWeights, WrappedForward, check_fit, read_lora
from models.answers import BaseInfo, GuideInfo
from models.cpu import choose_threads, order_weight
from models.engine import Engine, Loaded
from models.ensemble import ForwardPass, Group, ModelEnsemble
from models.fused import FusedForward, can_fuse
from models.guides import GuideCard, hash_files, read_card
from models.loading import (
    Placement,
    choose_placement,
    context_length,
    fetch,
    load_model,
    load_tokenizer,
    shared_vocabulary,
    told_as_load_error,
)
from models.presets import GuideSpec, Preset
from steering.errors import LoadError

logger = logging.getLogger(__name__)


def load_engine(preset: Preset, *, device: str = "auto", dtype: str = "auto") -> Engine:
    """Load a preset's models and return the engine that answers with them.

    Args:
        preset: what to load.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".

    Raises:
        LoadError: something is missing, damaged, gated or does not fit together; the message says what.
        CapacityError: the memory does not suffice.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    placement = choose_placement(device, dtype, preset.dtype)
    logger.info("Running on %s in %s: %s.", placement.device, _name(placement.dtype), placement.reason)
    with told_as_load_error(f"The model {preset.base.label}"):
        folder = fetch(preset.base)
        sha256 = hash_files(folder) if preset.base.folder else ""
    model, tokenizer = load_model(folder, placement), load_tokenizer(folder)
    guides = [_LoadedGuide(spec, placement) for spec in preset.guides]
    dimensions = tuple(guide.info.dimension for guide in guides)
    _check_dimensions(dimensions)
    separate = [(guide.info.id, guide.model, guide.tokenizer) for guide in guides if guide.model and guide.tokenizer]
    vocabulary_size = shared_vocabulary(preset.base.label, (model, tokenizer), separate)
    lengths = [context_length(each) for each in [model, *(guide.model for guide in guides if guide.model)]]
    if placement.device.type == "cpu":
        choose_threads([model, *(guide.model for guide in guides if guide.model)])
    ensemble = ModelEnsemble(_groups(model, guides), dimensions, vocabulary_size, _eos_token_ids(model, tokenizer))
    check_forward(ensemble)
    base = BaseInfo(
        id=preset.base.label,
        revision=f"sha256:{sha256}" if sha256 else folder.name,
        device=str(placement.device),
        dtype=_name(placement.dtype),
        context_length=min(lengths),
        vocabulary_size=vocabulary_size,
    )
    templates = tuple(guide.spec.chat_template or preset.chat_template for guide in guides)
    infos = tuple(guide.info for guide in guides)
    loaded = Loaded(ensemble, tokenizer, (preset.chat_template, *templates), base, infos, preset.examples)
    logger.info("Loaded %s with %s.", base.id, ", ".join(guide.id for guide in infos) or "no guides")
    return Engine(loaded)


class _LoadedGuide:
    """A guide's files as read: either LoRA factors, or a model of its own with its tokenizer."""

    def __init__(self, spec: GuideSpec, placement: Placement) -> None:
        self.spec = spec
        with told_as_load_error(f"The guide {spec.source.label}"):
            folder = fetch(spec.source)
            sha256 = hash_files(folder)
        self.lora: LoraWeights | None = None
        self.model: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        if (folder / "adapter_config.json").exists():
            with told_as_load_error(f"The adapter in {folder}"):
                self.lora = read_lora(folder)
        else:
            self.model, self.tokenizer = load_model(folder, placement), load_tokenizer(folder)
        card = read_card(folder)
        self.info = _guide_info(spec, card, sha256, "lora" if self.lora else "model")


def _guide_info(spec: GuideSpec, card: GuideCard, sha256: str, kind: str) -> GuideInfo:
    dimension = spec.dimension or card.dimension
    name = card.id or spec.source.label
    if not dimension:
        raise LoadError(f"The guide {name!r} does not say its dimension.", hint="Give dimension in the configuration.")
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


def _check_dimensions(dimensions: tuple[str, ...]) -> None:
    for dimension in dimensions:
        if dimensions.count(dimension) > 1:
            raise LoadError(
                f"Two guides have the dimension {dimension!r}; each needs its own slider.",
                hint="Give one of them another dimension in the configuration.",
            )
        if dimension == "overall" or not dimension.strip() or "=" in dimension:
            raise LoadError(
                f"A guide has the dimension {dimension!r}.", hint="Use a word other than 'overall', without '='."
            )


def _groups(model: PreTrainedModel, guides: list[_LoadedGuide]) -> list[Group]:
    """The base with every LoRA guide is one group; every guide that is a model of its own is another."""
    adapters = [(index, guide.lora, guide.info.id) for index, guide in enumerate(guides) if guide.lora]
    loras = [lora for _, lora, _ in adapters]
    check_fit(model, loras, [name for _, _, name in adapters])
    first = Group(model, tuple(index for index, _, _ in adapters), True, forward_pass(model, loras))
    separate = [(index, guide.model) for index, guide in enumerate(guides) if guide.model]
    return [first, *(Group(own, (index,), False, forward_pass(own, [])) for index, own in separate)]


def forward_pass(model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> ForwardPass:
    """Choose how ``model``, which is mutated, is run: joined for the Llama family, else transformers' way."""
    if can_fuse(model, adapters):
        order_weight(model.lm_head)
        return FusedForward(model, adapters)
    for module in model.modules():
        order_weight(module)
    return WrappedForward(model, adapters)


def _eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What ends an answer: the model's generation settings say, else the tokenizer."""
    eos = model.generation_config.eos_token_id if model.generation_config else None
    eos = tokenizer.eos_token_id if eos is None else eos
    return frozenset([eos] if isinstance(eos, int) else eos or [])


@torch.inference_mode()
def check_forward(ensemble: ModelEnsemble) -> None:
    """Compare cached decoding with a plain forward pass over a few tokens, for every model.

    An architecture that ignores explicit positions or masks (ALiBi, say) would decode nonsense without an error.

    Raises:
        LoadError: they differ by more than rounding.
    """
    for group in ensemble.groups:
        tokens = torch.arange(8, device=group.model.device)[None] % ensemble.vocabulary_size
        # what such an architecture raises on a mask of ours is its own
        with told_as_load_error(f"The architecture {group.model.config.model_type!r}, run with a row cache,"):
            cache = group.new_cache(1, tokens.shape[1])
            group.forward(tokens[:, :5], cache, 1, keep=1)
            group.forward(tokens[:, 5:7], cache, 1, keep=1)
            cached = group.forward(tokens[:, 7:], cache, 1, keep=1)[:, -1].float()
            plain = group.model(input_ids=tokens, use_cache=False).logits[:, -1].float()
        tolerance = 1e-3 if group.model.dtype == torch.float32 else 0.1
        if not (plain - cached).abs().max() <= tolerance * plain.abs().max().clamp(min=1.0):
            raise LoadError(
                f"The architecture {group.model.config.model_type!r} does not decode correctly from a row cache.",
                hint="Use a Llama-, Qwen-, Mistral-, GPT-NeoX- or GPT-2-like model.",
            )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
