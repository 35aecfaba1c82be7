"""LoRA guides as rows: base rows and the rows of every guide go through one forward pass over the base weights.

Rows are member-major: first the base's, then each guide's, the same number for every guide. A linear layer that some
guide adapts is wrapped; it multiplies all rows with the base weight once and adds each guide's low-rank delta to that
guide's rows by two batched matrix products. Base rows get none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig
from peft.utils import load_peft_weights
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.cache import RowCache
from steering.errors import LoadError

# What LoRA can be asked to do beyond W + scaling · B A; a row delta would silently be another function.
_UNSUPPORTED = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora")

# Other starts (PiSSA, OLoRA, CorDA, …) change the base weights too, which an adapter file does not hold.
_HARMLESS_STARTS = ("gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraWeights:
    """A LoRA adapter's low-rank factors by module name: A (R, in) and B (out, R), B already scaled."""

    factors: dict[str, tuple[Tensor, Tensor]]


def read_lora(folder: Path) -> LoraWeights:
    """Read a PEFT LoRA folder (``adapter_config.json``, ``adapter_model.safetensors``).

    The scaling is PEFT's: lora_alpha / r, or lora_alpha / √r with rsLoRA, per module where patterns say so.

    Raises:
        LoadError: the file is no plain LoRA (DoRA, trained biases, …), or has weights other than lora_A and lora_B.
    """
    config = _lora_config(folder)
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, weight in load_peft_weights(str(folder), device="cpu").items():
        name, _, part = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        if part not in ("lora_A", "lora_B"):
            raise LoadError(
                f"The adapter {folder} has the weight {key!r}; only lora_A and lora_B are supported.",
                hint="Train it without modules_to_save or trained biases, or merge it into a model of its own.",
            )
        pairs.setdefault(name, {})[part] = weight
    factors = {}
    for name, parts in pairs.items():
        if len(parts) != 2:
            raise LoadError(f"The adapter {folder} has only {next(iter(parts))} for {name}.", hint="Save it again.")
        scaling = _scaling(config, name, rank=parts["lora_A"].shape[0])
        factors[name] = (parts["lora_A"].float(), parts["lora_B"].float() * scaling)
    return LoraWeights(factors)


def _lora_config(folder: Path) -> LoraConfig:
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise LoadError(
            f"The adapter configuration in {folder} cannot be read: {error}.", hint="Save it with PEFT."
        ) from error
    if not isinstance(config, LoraConfig):
        raise LoadError(
            f"The adapter {folder} is of the kind {config.peft_type}; only LORA is supported.", hint="Use LoRA."
        )
    extra = [name for name in _UNSUPPORTED if getattr(config, name, None)]
    if isinstance(config.init_lora_weights, str) and config.init_lora_weights not in _HARMLESS_STARTS:
        extra.append(f"init_lora_weights={config.init_lora_weights!r}")
    if config.bias != "none":
        extra.append(f"bias={config.bias!r}")
    if extra:
        raise LoadError(
            f"The adapter {folder} uses {', '.join(extra)}, which row LoRA cannot reproduce.",
            hint="Train it as plain LoRA, or merge it into a model of its own.",
        )
    return config


def _scaling(config: LoraConfig, name: str, rank: int) -> float:
    pattern = config.alpha_pattern or {}
    lora_alpha = pattern.get(get_pattern_key(list(pattern), name), config.lora_alpha)
    return lora_alpha / (rank**0.5 if config.use_rslora else rank)


class RowLinear(nn.Module):
    """A linear layer whose guide rows get their guide's low-rank delta.

    ``inner`` is the base's own layer, ``a`` (G, in, R) and ``b`` (G, R, out) the stacked factors. ``n_base`` is how
    many rows of the forward pass under way are the base's own.
    """

    a: Tensor
    b: Tensor

    def __init__(self, inner: nn.Module, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.n_base = 0
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, T, in) to (rows, T, out)."""
        y = self.inner(x)
        n_base = self.n_base
        if x.shape[0] > n_base:
            n_guides = self.a.shape[0]
            low_rank = torch.bmm(x[n_base:].reshape(n_guides, -1, x.shape[-1]), self.a)
            y[n_base:].view(n_guides, -1, y.shape[-1]).baddbmm_(low_rank, self.b)
        return y


class WrappedForward:
    """Reads tokens with transformers' own forward pass, its linear layers wrapped where some guide adapts them.

    For every architecture that takes explicit positions, masks and caches; see :class:`models.ensemble.ForwardPass`.
    """

    def __init__(self, model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> None:
        """Wrap every layer of ``model``, which is mutated, that some adapter changes.

        Guides without a module have zeros there; smaller ranks are padded with zeros.
        """
        self.model = model
        self.wrapped = []
        modules = dict(model.named_modules())
        for module in sorted({module for adapter in adapters for module in adapter.factors}):
            inner = modules[module]
            assert isinstance(inner.weight, Tensor)
            row_linear = RowLinear(inner, *_stack([adapter.factors.get(module) for adapter in adapters], inner.weight))
            parent, _, child = module.rpartition(".")
            setattr(modules[parent], child, row_linear)
            self.wrapped.append(row_linear)

    def __call__(self, tokens: Tensor, cache: RowCache, n_base: int, keep: Tensor | int) -> Tensor:
        """Return logits (R, K, V rows of the head) at the K positions ``keep`` names."""
        for layer in self.wrapped:
            layer.n_base = n_base
        logits: Tensor = self.model(
            input_ids=tokens,
            attention_mask=cache.rows.mask(self.model.dtype),
            position_ids=cache.rows.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits


def check_fit(model: PreTrainedModel, adapters: Sequence[LoraWeights], names: Sequence[str]) -> None:
    """Check that every adapter changes linear layers that ``model`` has, of their shapes; ``names`` are for errors.

    Raises:
        LoadError: an adapter names a module the base does not have, one of another shape, or none at all.
    """
    modules = dict(model.named_modules())
    for adapter, name in zip(adapters, names, strict=True):
        missing = [module for module in adapter.factors if module not in modules]
        if missing or not adapter.factors:
            what = f"changes {missing[0]!r}, which the base model lacks" if missing else "has no weights"
            raise LoadError(f"The guide {name!r} {what}.", hint="Is it an adapter for another base model?")
        for module, (a, b) in adapter.factors.items():
            n_in, n_out = _sizes(modules[module])
            if (a.shape[1], b.shape[0]) != (n_in, n_out):
                raise LoadError(
                    f"The guide {name!r} maps {a.shape[1]} to {b.shape[0]} in {module!r}; "
                    f"the base model maps {n_in} to {n_out}.",
                    hint="Is it an adapter for another base model?",
                )


def _sizes(inner: nn.Module) -> tuple[int, int]:
    """Return (in, out) of a Linear, or of the transposed Conv1D that GPT-2 uses."""
    weight = inner.weight
    assert isinstance(weight, Tensor)
    return (weight.shape[1], weight.shape[0]) if isinstance(inner, nn.Linear) else (weight.shape[0], weight.shape[1])


def _stack(factors: Sequence[tuple[Tensor, Tensor] | None], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Stack to A (G, in, R) and B (G, R, out) in the dtype and on the device of ``weight``, padded with zeros."""
    present = next(pair for pair in factors if pair is not None)
    rank = max(pair[0].shape[0] for pair in factors if pair is not None)
    a = torch.zeros(len(factors), present[0].shape[1], rank)
    b = torch.zeros(len(factors), rank, present[1].shape[0])
    for index, pair in enumerate(factors):
        if pair is not None:
            a[index, :, : pair[0].shape[0]] = pair[0].T
            b[index, : pair[1].shape[1], :] = pair[1].T
    return a.to(weight), b.to(weight)
