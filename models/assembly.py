"""Putting an engine together: loaded models become members that decode together, checked before anyone relies on it."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.adapters import LoraWeights, WrappedForward, check_fit
from models.answers import BaseInfo
from models.batch import Ways
from models.cache import STATIC
from models.cpu import choose_threads
from models.engine import Engine
from models.ensemble import ModelEnsemble
from models.fused import FusedForward, can_fuse
from models.limits import Limits
from models.lineup import Loaded
from models.lineups import Beside
from models.loading import context_length, is_split, shared_vocabulary, told_as_load_error
from models.members import Group, Members
from models.memory import Budget, plan_memory
from models.options import EngineOptions, StepPath
from models.parts import GuideParts, Parts, load_parts
from models.presets import Preset
from models.recording import CudaGraphs, run_eagerly
from models.refit import refitted
from steering.errors import LoadError

logger = logging.getLogger(__name__)

# How much of a prompt is read between two steps of the others: about as long as a few steps take.
_CHUNK_TOKENS = {"cuda": 1024, "cpu": 128}
_DEFAULTS = EngineOptions()
_TRIAL_SHARE = 8  # of the memory for keys and values, what guides that are tried out may take
_SLACK_BYTES = 2**20  # an arena is divided among groups, layers, keys and values, and loses a little each time


def load_engine(
    preset: Preset, *, device: str = "auto", dtype: str = "auto", options: EngineOptions = _DEFAULTS
) -> Engine:
    """Load a preset's models and return the engine that answers with them.

    Args:
        preset: what to load.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        options: what the engine takes on, and how.

    Raises:
        LoadError: something is missing, damaged, gated or does not fit together; the message says what.
        CapacityError: the memory does not suffice.
    """
    return assemble(load_parts(preset, device=device, dtype=dtype), options)


def assemble(parts: Parts, options: EngineOptions = _DEFAULTS) -> Engine:
    """Return the engine that answers with loaded models, whose weights it takes over.

    Raises:
        LoadError: they do not fit together, or their architecture cannot be decoded.
    """
    return Engine(put_together(parts, options), in_background=options.in_background)


def put_together(parts: Parts, options: EngineOptions = _DEFAULTS) -> Loaded:
    """Return what an engine answers with, made of loaded models, whose weights it takes over.

    Raises:
        LoadError: they do not fit together, or their architecture cannot be decoded.
    """
    vocabulary_size = check_together(parts)
    model = parts.model
    if model.device.type == "cpu":
        choose_threads(_models(parts))
    loras = [guide.lora for guide in parts.guides if guide.lora]
    first = make_group(model, _with_lora(parts.guides), loras, has_base=True)
    parts = replace(parts, guides=_ready(parts.guides))
    members = _members(parts, first, vocabulary_size)
    budget = plan_memory(members, options.memory_fraction, _context_length(parts))
    ways = _ways(options, model, budget)
    ensemble = ModelEnsemble(members, ways, budget.remembered_bytes if options.remembers else 0)
    limits = Limits(
        max_slots=options.max_slots,
        max_waiting=options.max_waiting,
        max_waiting_tokens=options.max_waiting_tokens,
        time_limit_seconds=options.time_limit_seconds,
        chunk_tokens=options.chunk_tokens or _CHUNK_TOKENS[model.device.type],
        # without an arena the old and the new places of all answers are there at once while one joins or leaves
        cache_bytes=budget.cache_bytes if ways.arena_bytes else budget.cache_bytes // 2,
    )
    return _loaded(parts, ensemble, limits)


def with_guides(loaded: Loaded, guides: Sequence[GuideParts], beside: Beside) -> Loaded:
    """Return what answers with other guides on the base of ``loaded``, whose weights are not loaded again.

    It computes what loading base and guides anew would compute, bit by bit. Guides that stay are shared.

    Args:
        loaded: what answers now.
        guides: those that shall answer.
        beside: whether ``loaded`` goes on beside it, or its weights are taken over.

    Raises:
        LoadError: they do not fit together; ``loaded`` is as it was.
    """
    parts = replace(loaded.parts, guides=tuple(guides))
    vocabulary_size = check_together(parts)
    parts = replace(parts, guides=_ready(guides))
    old = loaded.ensemble
    first = old.members.groups[0]
    adapters, before = ([guide.lora for guide in each if guide.lora] for each in (guides, loaded.parts.guides))
    forward = refitted(first, adapters, before=before, in_place=beside is Beside.NOTHING)
    first = replace(first, guides=_with_lora(guides), forward_pass=forward)
    ways, limits = old.ways, loaded.limits
    if beside is Beside.EVERYBODY:
        ways, limits = Ways(), replace(limits, cache_bytes=limits.cache_bytes // _TRIAL_SHARE)
    ensemble = ModelEnsemble(_members(parts, first, vocabulary_size), ways, old.remembered_bytes)
    return _loaded(parts, ensemble, limits)


def check_together(parts: Parts) -> int:
    """Check that base and guides can answer together; returns the size of the vocabulary they share.

    Raises:
        LoadError: they do not fit; the message says what and where.
    """
    check_dimensions(tuple(guide.info.dimension for guide in parts.guides))
    adapters = [(guide.lora, guide.info.id) for guide in parts.guides if guide.lora]
    check_fit(parts.model, [lora for lora, _ in adapters], [name for _, name in adapters])
    own = [(guide.info.id, guide.model, guide.tokenizer) for guide in parts.guides if guide.model and guide.tokenizer]
    return shared_vocabulary(parts.base_id, (parts.model, parts.tokenizer), own)


def _models(parts: Parts) -> list[PreTrainedModel]:
    return [parts.model, *(guide.model for guide in parts.guides if guide.model)]


def _context_length(parts: Parts) -> int:
    return min(map(context_length, _models(parts)))


def _members(parts: Parts, first: Group, vocabulary_size: int) -> Members:
    """The base with every LoRA guide is the group ``first``; every guide that is a model of its own is another."""
    guides = parts.guides
    groups = [first, *(replace(guide.group, guides=(i,)) for i, guide in enumerate(guides) if guide.group)]
    dimensions = tuple(guide.info.dimension for guide in guides)
    return Members(groups, dimensions, vocabulary_size, _eos_token_ids(parts.model, parts.tokenizer))


def _ready(guides: Sequence[GuideParts]) -> tuple[GuideParts, ...]:
    """Make those that are models of their own ready to decode; what is ready already is taken as it is."""
    made = (make_group(g.model, [0], [], has_base=False) if g.model and not g.group else g.group for g in guides)
    return tuple(replace(guide, group=group) for guide, group in zip(guides, made, strict=True))


def _loaded(parts: Parts, ensemble: ModelEnsemble, limits: Limits) -> Loaded:
    model, guides = parts.model, tuple(guide.info for guide in parts.guides)
    base = BaseInfo(
        id=parts.base_id,
        revision=parts.revision,
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        context_length=_context_length(parts),
        vocabulary_size=ensemble.vocabulary_size,
    )
    templates = (parts.chat_template, *(guide.chat_template or parts.chat_template for guide in parts.guides))
    logger.info("Loaded %s with %s.", base.id, ", ".join(guide.id for guide in guides) or "no guides")
    return Loaded(ensemble, parts.tokenizer, templates, base, guides, limits, parts, parts.examples)


def _ways(options: EngineOptions, model: PreTrainedModel, budget: Budget) -> Ways:
    """How steps are taken: recorded on a GPU, run one by one on a CPU and where a model is split over devices."""
    on_gpu = model.device.type == "cuda"
    path = options.path
    if path is StepPath.AUTO:
        path = StepPath.CAPTURED if on_gpu and not is_split(model) else StepPath.EAGER
    if path is StepPath.EAGER:
        return Ways(is_ahead=on_gpu)
    recorder = CudaGraphs if path is StepPath.CAPTURED else lambda: run_eagerly
    return Ways(STATIC, recorder, arena_bytes=budget.cache_bytes + _SLACK_BYTES, is_ahead=True)


def check_dimensions(dimensions: tuple[str, ...]) -> None:
    """Check that every guide can have a slider of its own.

    Raises:
        LoadError: two have one dimension, or one has a name that means something else.
    """
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


def _with_lora(guides: Sequence[GuideParts]) -> tuple[int, ...]:
    return tuple(index for index, guide in enumerate(guides) if guide.lora)


def make_group(
    model: PreTrainedModel, guides: Sequence[int], adapters: Sequence[LoraWeights], *, has_base: bool
) -> Group:
    """Make ``model``, which is mutated, ready to decode with its guides as rows, and check that it does.

    Its cached decoding is compared with a plain forward pass over a few tokens: an architecture that ignores explicit
    positions or masks (ALiBi, say) would decode nonsense without an error.

    Raises:
        LoadError: they differ by more than rounding.
    """
    n_tokens = min(8, model.config.get_text_config().vocab_size)
    tokens = torch.arange(n_tokens, device=model.device)[None]
    kind = model.config.model_type
    # what an architecture raises on a cache or a mask of ours is its own
    with told_as_load_error(f"The architecture {kind!r}, run with a row cache,"), torch.inference_mode():
        plain = model(input_ids=tokens, use_cache=False).logits[:, -1].float()
        is_known = can_fuse(model, adapters)
        forward_pass = FusedForward(model, adapters) if is_known else WrappedForward(model, adapters)
        group = Group(model, tuple(guides), has_base, forward_pass)
        cache, owners = group.new_cache(1, n_tokens), group.owners([0])
        for piece in tokens.split([n_tokens - 3, 2, 1], dim=1):
            cached = group.read(piece, cache, owners, keep=1)[:, -1].float()
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    if not (plain - cached).abs().max() <= tolerance * plain.abs().max().clamp(min=1.0):
        raise LoadError(
            f"The architecture {kind!r} does not decode correctly from a row cache.",
            hint="Use a Llama-, Qwen-, Mistral-, GPT-NeoX- or GPT-2-like model.",
        )
    return group


def _eos_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What ends an answer: the model's generation settings say, else the tokenizer."""
    eos = model.generation_config.eos_token_id if model.generation_config else None
    eos = tokenizer.eos_token_id if eos is None else eos
    return frozenset([eos] if isinstance(eos, int) else eos or [])
