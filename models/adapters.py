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

from steering.errors import LoadError

# What LoRA can be asked to do beyond W + scaling · B A; a row delta would silently be another function.
_UNSUPPORTED = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora")


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


class RowLayout:
    """How many base rows lead the batch of the forward pass under way; the rest are the guides', member-major."""

    def __init__(self) -> None:
        self.n_base = 0


class RowLinear(nn.Module):
    """A linear layer whose guide rows get their guide's low-rank delta.

    ``inner`` is the base's own layer, ``a`` (G, in, R) and ``b`` (G, R, out) the stacked factors.
    """

    a: Tensor
    b: Tensor

    def __init__(self, inner: nn.Module, a: Tensor, b: Tensor, layout: RowLayout) -> None:
        super().__init__()
        self.inner = inner
        self.layout = layout
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, T, in) to (rows, T, out)."""
        y = self.inner(x)
        n_base = self.layout.n_base
        if x.shape[0] > n_base:
            guide_rows = x[n_base:].reshape(self.a.shape[0], -1, x.shape[-1])
            y[n_base:] += torch.bmm(torch.bmm(guide_rows, self.a), self.b).view(-1, *y.shape[1:])
        return y


def install(model: PreTrainedModel, adapters: Sequence[LoraWeights], names: Sequence[str]) -> RowLayout:
    """Wrap every layer of ``model`` that some adapter changes; returns the layout the forward passes read.

    Mutates ``model``. Guides without a module have zeros there; smaller ranks are padded with zeros.

    Args:
        model: the base model.
        adapters: one per guide, in row order.
        names: the guides' names, for errors.

    Raises:
        LoadError: an adapter names a module the base does not have, or of another shape.
    """
    layout = RowLayout()
    modules = dict(model.named_modules())
    for adapter, name in zip(adapters, names, strict=True):
        missing = [module for module in adapter.factors if module not in modules]
        if missing or not adapter.factors:
            what = f"changes {missing[0]!r}, which the base model lacks" if missing else "has no weights"
            raise LoadError(f"The guide {name!r} {what}.", hint="Is it an adapter for another base model?")
    for module in sorted({module for adapter in adapters for module in adapter.factors}):
        factors = [adapter.factors.get(module) for adapter in adapters]
        inner = modules[module]
        _check_shapes(inner, module, factors, names)
        assert isinstance(inner.weight, Tensor)
        a, b = _stack(factors, inner.weight)
        parent, _, child = module.rpartition(".")
        setattr(modules[parent], child, RowLinear(inner, a, b, layout))
    return layout


def _sizes(inner: nn.Module) -> tuple[int, int]:
    """Return (in, out) of a Linear, or of the transposed Conv1D that GPT-2 uses."""
    weight = inner.weight
    assert isinstance(weight, Tensor)
    return (weight.shape[1], weight.shape[0]) if isinstance(inner, nn.Linear) else (weight.shape[0], weight.shape[1])


def _check_shapes(
    inner: nn.Module, module: str, factors: Sequence[tuple[Tensor, Tensor] | None], names: Sequence[str]
) -> None:
    n_in, n_out = _sizes(inner)
    for pair, name in zip(factors, names, strict=True):
        if pair is not None and (pair[0].shape[1], pair[1].shape[0]) != (n_in, n_out):
            got = f"{pair[0].shape[1]} to {pair[1].shape[0]}"
            raise LoadError(
                f"The guide {name!r} maps {got} in {module!r}; the base model maps {n_in} to {n_out}.",
                hint="Is it an adapter for another base model?",
            )


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
