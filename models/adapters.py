"""LoRA guides as rows: base rows and the rows of every guide go through one forward pass over the base weights.

Whose row is whose is said by :class:`Owners`. A linear layer that some guide adapts is wrapped; it multiplies all rows
with the base weight once and with all guides' low-rank factors side by side, masked so that every row gets its own
guide's delta. Base rows get none.
"""

from collections.abc import Mapping, Sequence
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


class Owners:
    """Which of a group's G guides each row of a forward pass belongs to; the base's rows belong to none.

    ``any`` is False where every row is the base's.
    """

    def __init__(self, guides: Sequence[int | None], n_guides: int, device: torch.device) -> None:
        self.n_rows = len(guides)
        self.any = any(guide is not None for guide in guides)
        rows = [[float(guide == index) for index in range(n_guides)] for guide in guides]
        self._one_hot = torch.tensor(rows, device=device).view(self.n_rows, n_guides)
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}

    def mask(self, n_own: int, n_inputs: int, dtype: torch.dtype) -> Tensor:
        """Return (N, G·n_own): 1 in the ``n_own`` columns of the guide an input belongs to, else 0.

        N = ``n_inputs`` is the rows times a number of tokens, rows first.
        """
        key = (n_own, n_inputs, dtype)
        if key not in self._masks:
            by_row = self._one_hot.to(dtype).repeat_interleave(n_own, dim=1)
            self._masks[key] = by_row.repeat_interleave(n_inputs // self.n_rows, dim=0)
        return self._masks[key]


class RowLinear(nn.Module):
    """A linear layer whose guide rows get their guide's low-rank delta.

    ``inner`` is the base's own layer, ``a`` (in, G·R) and ``b`` (G·R, out) all guides' factors side by side. ``owners``
    is whose rows the forward pass under way has.
    """

    a: Tensor
    b: Tensor

    def __init__(self, inner: nn.Module, a: Tensor, b: Tensor, n_guides: int) -> None:
        super().__init__()
        self.inner = inner
        self.n_own = a.shape[1] // n_guides
        self.owners: Owners | None = None
        self.register_buffer("a", a, persistent=False)
        self.register_buffer("b", b, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (rows, T, in) to (rows, T, out)."""
        y: Tensor = self.inner(x)
        assert self.owners is not None
        if not self.owners.any:
            return y
        inputs = x.reshape(-1, x.shape[-1])
        low = (inputs @ self.a) * self.owners.mask(self.n_own, len(inputs), x.dtype).to(x.device)
        return torch.addmm(y.reshape(len(inputs), -1), low, self.b).view_as(y)


class WrappedForward:
    """Reads tokens with transformers' own forward pass, its linear layers wrapped where some guide adapts them.

    For every architecture that takes explicit positions, masks and caches; see :class:`models.ensemble.ForwardPass`.
    """

    def __init__(
        self, model: PreTrainedModel, adapters: Sequence[LoraWeights], earlier: "WrappedForward | None" = None
    ) -> None:
        """Wrap every layer of ``model``, which is mutated, that some adapter changes.

        Guides without a module have zeros there; smaller ranks are padded with zeros. ``earlier`` is a forward pass of
        the same model that may be used by turns with this one.
        """
        self.model = model
        self._modules: _Modules = _Modules(model) if earlier is None else earlier._modules
        self.wrapped: dict[str, RowLinear] = {}
        for module in sorted({module for adapter in adapters for module in adapter.factors}):
            inner = self._modules.inner[module]
            a, b = _side_by_side([adapter.factors.get(module) for adapter in adapters], _weight_of(inner))
            self.wrapped[module] = RowLinear(inner, a, b, len(adapters))
        self._modules.wrap(self.wrapped)
        self.nbytes = sum(weight.nbytes for weight in [*model.parameters(), *model.buffers()])
        """The bytes of weights that a step reads."""

    def __call__(self, tokens: Tensor, cache: RowCache, owners: Owners, keep: Tensor | int) -> Tensor:
        """Return logits (R, K, V rows of the head) at the K positions ``keep`` names."""
        self._modules.wrap(self.wrapped)
        for layer in self.wrapped.values():
            layer.owners = owners
        logits: Tensor = self.model(
            input_ids=tokens,
            attention_mask=cache.rows.mask(self.model.dtype),
            position_ids=cache.rows.positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits


class _Modules:
    """A model's own modules, and which of them are wrapped at the moment."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.inner = dict(model.named_modules())
        self._wrapped: Mapping[str, RowLinear] = {}

    def wrap(self, wrapped: Mapping[str, RowLinear]) -> None:
        """Have these layers wrapped and no others."""
        if wrapped is self._wrapped:
            return
        for name, module in [*((name, self.inner[name]) for name in self._wrapped), *wrapped.items()]:
            parent, _, child = name.rpartition(".")
            setattr(self.inner[parent], child, module)
        self._wrapped = wrapped


def check_fit(model: PreTrainedModel, adapters: Sequence[LoraWeights], names: Sequence[str]) -> None:
    """Check that every adapter changes linear layers that ``model`` has, of their shapes; ``names`` are for errors.

    Raises:
        LoadError: an adapter names a module the base does not have, one of another shape, or none at all.
    """
    modules = {name: _inner(module) for name, module in model.named_modules()}
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


def _weight_of(inner: nn.Module) -> Tensor:
    """The weight of a linear layer, or a stand-in where accelerate keeps it elsewhere until it is needed."""
    weight = inner.weight
    assert isinstance(weight, Tensor)
    hook = getattr(inner, "_hf_hook", None)
    return weight if hook is None else torch.empty(weight.shape, dtype=weight.dtype, device=hook.execution_device)


def _inner(module: nn.Module) -> nn.Module:
    """The base's own layer, where it is wrapped."""
    return module.inner if isinstance(module, RowLinear) else module


def _sizes(inner: nn.Module) -> tuple[int, int]:
    """Return (in, out) of a Linear, whose weight may have been joined with others, or of GPT-2's transposed Conv1D."""
    if isinstance(inner, nn.Linear):
        return inner.in_features, inner.out_features
    weight = inner.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0], weight.shape[1]


def _side_by_side(factors: Sequence[tuple[Tensor, Tensor] | None], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Join to A (in, G·R) and B (G·R, out) in the dtype and on the device of ``weight``, padded with zeros."""
    present = next(pair for pair in factors if pair is not None)
    rank = max(pair[0].shape[0] for pair in factors if pair is not None)
    a = torch.zeros(len(factors), rank, present[0].shape[1])
    b = torch.zeros(len(factors), rank, present[1].shape[0])
    for index, pair in enumerate(factors):
        if pair is not None:
            a[index, : pair[0].shape[0]] = pair[0]
            b[index, : pair[1].shape[1]] = pair[1].T
    return a.flatten(0, 1).T.contiguous().to(weight), b.flatten(0, 1).to(weight)
