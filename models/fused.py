"""A forward pass for the Llama family that is made for rows: few, large operations, weights read once.

Projections that share their input (q, k and v; gate and up) are one matrix, and every guide's LoRA A stands beside it
as further columns, so one product gives the base's output and all low-rank activations. One batched product then adds
each guide's delta to its own rows. transformers' model stays the owner of everything else, and its weights become views
into the joined matrices, so that nothing is held twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.adapters import LoraWeights
from models.cache import RowCache

_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
_PROJECTIONS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


def can_fuse(model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> bool:
    """Whether :class:`FusedForward` computes what ``model`` with ``adapters`` computes."""
    known = {name for group in _PROJECTIONS for name in group}
    layers_only = all(_within_layer(module) in known for adapter in adapters for module in adapter.factors)
    return model.config.model_type in _ARCHITECTURES and layers_only


def _within_layer(module: str) -> str:
    """``model.layers.3.mlp.up_proj`` is ``mlp.up_proj`` within its layer; other names come back whole."""
    prefix, _, rest = module.removeprefix("model.layers.").partition(".")
    return rest if prefix.isdecimal() else module


class Projection:
    """Linear layers of one input, joined, with the LoRA factors of every guide.

    ``weight`` is (in, out + G·K·R): the layers' outputs side by side, then per guide the A of each of its K layers.
    ``b`` is (G, K·R, out), block-diagonal over the K layers; None without guides.
    """

    def __init__(self, layers: Sequence[nn.Linear], factors: Sequence[Sequence[tuple[Tensor, Tensor] | None]]) -> None:
        """Join ``layers``; ``factors`` has for every guide and layer A (R, in) and scaled B (out, R), or None.

        Mutates ``layers``: their weights become views.
        """
        first = layers[0].weight
        sizes = [layer.weight.shape[0] for layer in layers]
        self.n_out = sum(sizes)
        rank = max((pair[0].shape[0] for row in factors for pair in row if pair is not None), default=0)
        a = torch.zeros(len(factors), len(layers), rank, first.shape[1])
        b = torch.zeros(len(factors), len(layers), rank, self.n_out)
        for g, row in enumerate(factors):
            start = 0
            for k, (pair, size) in enumerate(zip(row, sizes, strict=True)):
                if pair is not None:
                    a[g, k, : pair[0].shape[0]] = pair[0]
                    b[g, k, : pair[1].shape[1], start : start + size] = pair[1].T
                start += size
        joined = torch.cat([*(layer.weight.data for layer in layers), a.flatten(0, 2).to(first)])
        # on a CPU in fp32 a product of a few rows is fastest along the rows of the weight (models/cpu.py)
        along_rows = first.device.type == "cpu" and first.dtype == torch.float32
        self.weight = joined.T.contiguous() if along_rows else joined.T
        self.b = b.flatten(1, 2).to(first) if rank else None
        self.rank = rank * len(layers)
        for layer, view in zip(layers, self.weight[:, : self.n_out].split(sizes, dim=1), strict=True):
            layer.weight.data = view.T
        biases = [layer.bias for layer in layers]
        assert len({bias is None for bias in biases}) == 1
        self.bias = None if layers[0].bias is None else torch.cat(tuple(biases))

    def __call__(self, x: Tensor, n_base: int, residual: Tensor | None = None) -> Tensor:
        """Map (N, in) to (N, out), plus ``residual`` (N, out); without one the result may be a view with longer rows.

        The rows after ``n_base`` are the guides', guide-major, the same number for each.
        """
        y = torch.mm(x, self.weight)
        n_all, width = y.shape
        out = y.narrow(1, 0, self.n_out)
        if self.bias is not None:
            out = out + self.bias
        if residual is not None:
            out = residual + out
        if self.b is not None and n_all > n_base:
            n_guides = self.b.shape[0]
            n_own = (n_all - n_base) // n_guides
            # guide g reads only its own A's columns of its own rows: a diagonal of blocks, taken by strides
            start = y.storage_offset() + n_base * width + self.n_out
            low_rank = y.as_strided((n_guides, n_own, self.rank), (n_own * width + self.rank, width, 1), start)
            guide_rows = out.narrow(0, n_base, n_all - n_base)
            if out.is_contiguous():
                guide_rows.view(n_guides, n_own, self.n_out).baddbmm_(low_rank, self.b)
            else:  # baddbmm_ would run one product per guide
                guide_rows.add_(torch.bmm(low_rank, self.b).view(-1, self.n_out))
        return out


@dataclass(frozen=True)
class _Context:
    """What all layers of one pass share: cache, rotary cosines and sines, mask, and the base's rows times T."""

    cache: RowCache
    turn: tuple[Tensor, Tensor]
    mask: Tensor
    n_base: int


class FusedForward:
    """Reads tokens with the base and all LoRA guides as rows of one pass; see :class:`models.ensemble.ForwardPass`."""

    def __init__(self, model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> None:
        """Join the weights of ``model``, which is mutated but still computes the same."""
        self.model = model
        config = model.config
        self.n_heads, self.n_kv_heads = config.num_attention_heads, config.num_key_value_heads
        modules = dict(model.named_modules())
        self.layers = [
            (modules[f"model.layers.{index}"], _join(modules, f"model.layers.{index}", adapters))
            for index in range(config.num_hidden_layers)
        ]

    def __call__(self, tokens: Tensor, cache: RowCache, n_base: int, keep: Tensor | int) -> Tensor:
        """Return logits (R, K, V) after the K positions ``keep`` names; see :class:`models.ensemble.ForwardPass`."""
        body: Any = self.model.model
        hidden = body.embed_tokens(tokens)
        cos, sin = body.rotary_emb(hidden, position_ids=cache.rows.positions)
        half = sin.shape[-1] // 2
        turn = (cos[:, :, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, :, None])
        context = _Context(cache, turn, self._mask(cache, hidden), n_base * tokens.shape[1])
        for index, (layer, projections) in enumerate(self.layers):
            hidden = self._layer(hidden, layer, projections, index, context)
        hidden = hidden[:, -keep:] if isinstance(keep, int) else hidden[:, keep]
        logits: Tensor = self.model.lm_head(_normalise(hidden, body.norm))
        return logits

    def _mask(self, cache: RowCache, hidden: Tensor) -> Tensor:
        """Return the additive mask as :func:`_attend` wants it."""
        mask = cache.rows.mask(hidden.dtype)
        if not _by_products(hidden):
            return mask
        shape = (hidden.shape[0], self.n_kv_heads, self.n_heads // self.n_kv_heads, cache.rows.n_visible)
        return mask.expand(shape).flatten(0, 1)

    def _layer(
        self,
        hidden: Tensor,
        layer: Any,
        projections: Sequence[Projection],
        index: int,
        context: _Context,
    ) -> Tensor:
        """The decoder layer ``index`` over (R, T, E)."""
        qkv, o, gate_up, down = projections
        turn, n_base = context.turn, context.n_base
        n_rows, n_tokens, size = hidden.shape
        attention = layer.self_attn
        x = qkv(_normalise(hidden, layer.input_layernorm).view(-1, size), n_base)
        heads = x.unflatten(-1, (-1, attention.head_dim)).unflatten(0, (n_rows, n_tokens))
        n_turned = self.n_heads + self.n_kv_heads
        turned, values = heads[:, :, :n_turned], heads[:, :, n_turned:]
        if hasattr(attention, "q_norm"):
            queries = _normalise(turned[:, :, : self.n_heads], attention.q_norm)
            turned = torch.cat([queries, _normalise(turned[:, :, self.n_heads :], attention.k_norm)], dim=2)
        # rotary embedding: x·cos + (x with its halves swapped)·sin, the sign folded into sin
        turned = torch.addcmul(turned * turn[0], turned.roll(attention.head_dim // 2, dims=-1), turn[1])
        queries, keys = turned.transpose(1, 2).split([self.n_heads, self.n_kv_heads], dim=1)
        keys, values = context.cache.row_layers[index].update(keys, values.transpose(1, 2))
        seen = _attend(queries, keys, values, context.mask).transpose(1, 2).reshape(n_rows * n_tokens, -1)
        hidden = o(seen, n_base, hidden.view(-1, size)).view_as(hidden)
        gate, up = gate_up(_normalise(hidden, layer.post_attention_layernorm).view(-1, size), n_base).chunk(2, dim=-1)
        return down(layer.mlp.act_fn(gate) * up, n_base, hidden.view(-1, size)).view_as(hidden)


def _join(modules: Mapping[str, nn.Module], layer: str, adapters: Sequence[LoraWeights]) -> list[Projection]:
    joined = []
    for group in _PROJECTIONS:
        names = [f"{layer}.{name}" for name in group]
        linears = [module for module in (modules[name] for name in names) if isinstance(module, nn.Linear)]
        factors = [[adapter.factors.get(name) for name in names] for adapter in adapters]
        joined.append(Projection(linears, factors))
    return joined


def _by_products(hidden: Tensor) -> bool:
    """Whether attention for (R, T, E) is computed as two batched products.

    For one token on a CPU they take a third of the time of the general kernel; a bf16 softmax would be too coarse.
    """
    return hidden.shape[1] == 1 and hidden.device.type == "cpu" and hidden.dtype == torch.float32


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attend from (R, H, T, D) to (R, K, N, D), K dividing H.

    ``mask`` is additive: (R, 1, T, N), or (R·K, H/K, N) to compute by products: the queries that share keys then stand
    where several tokens of one head would.
    """
    n_heads, n_kv_heads, size = queries.shape[1], keys.shape[1], queries.shape[-1]
    if mask.dim() == 4:
        return F.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=n_heads != n_kv_heads)
    shared = queries.reshape(mask.shape[0], mask.shape[1], size)
    logits = torch.baddbmm(mask, shared, keys.flatten(0, 1).transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(logits.softmax(dim=-1), values.flatten(0, 1)).view(queries.shape)


def _normalise(x: Tensor, norm: Any) -> Tensor:
    """RMSNorm over the last axis, as the module ``norm`` of transformers does it."""
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)
