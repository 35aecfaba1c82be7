"""A forward pass for the Llama family that is made for rows: few, large operations, weights read once.

Projections that share their input (q, k and v; gate and up) are one product, and every guide's LoRA B stands beside the
weight as further input columns: with z = m ⊙ (x Aᵀ), where the mask m leaves each row its own guide's part and the
base's rows nothing, one product of [x, z] with [W, B] is x Wᵀ plus each row's own delta. Queries and keys are stored
with the two halves of each head interleaved, so that the rotary embedding is one complex product; their inner products
stay what they are. transformers' model keeps embeddings and norms; the weights joined here are taken from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.adapters import LoraWeights, Owners
from models.cache import RowCache
from models.loading import is_split
from models.products import make_product

_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")
# those whose frequencies do not depend on how long the sequence is
_ROTARY_TYPES = ("default", "linear", "llama3", "yarn")
PROJECTIONS = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
TURNED = ("self_attn.q_proj", "self_attn.k_proj")


def can_fuse(model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> bool:
    """Whether :class:`FusedForward` computes what ``model`` with ``adapters`` computes."""
    known = {name for group in PROJECTIONS for name in group}
    layers_only = all(_within_layer(module) in known for adapter in adapters for module in adapter.factors)
    if model.config.model_type not in _ARCHITECTURES or not layers_only or is_split(model):
        return False
    body: Any = model.model
    whole_heads = 2 * body.rotary_emb.inv_freq.shape[0] == body.layers[0].self_attn.head_dim
    return whole_heads and body.rotary_emb.rope_type in _ROTARY_TYPES


def _within_layer(module: str) -> str:
    """``model.layers.3.mlp.up_proj`` is ``mlp.up_proj`` within its layer; other names come back whole."""
    prefix, _, rest = module.removeprefix("model.layers.").partition(".")
    return rest if prefix.isdecimal() else module


def _interleave(weight: Tensor, head_size: int) -> Tensor:
    """Reorder the first axis (heads · head size, …): the two halves of every head, by turns."""
    heads = weight.unflatten(0, (-1, 2, head_size // 2))
    return heads.transpose(1, 2).flatten(0, 2)


class Inputs:
    """Where the inputs of products are put together, [x, z] side by side; a decoding step reuses what the last took."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int, bool], tuple[Tensor, Tensor, Tensor]] = {}

    def take(self, x: Tensor, n_low: int, owners: Owners, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return [x, z] (N, in + ``n_low``) with x (N, in) filled in, and z (N, n_low); z is 0 where no guide owns."""
        n_rows, n_in = x.shape
        key = (n_rows, n_in, n_low, owners.any)
        # one token per row is a decoding step, of which there are few shapes; prompts come in every length
        if owners.n_rows == n_rows and key in self._kept:
            whole, left, right = self._kept[key]
        else:
            whole = torch.zeros(n_rows, n_in + n_low, dtype=dtype, device=x.device)
            left, right = whole.split([n_in, n_low], dim=1)
            if owners.n_rows == n_rows:
                self._kept[key] = (whole, left, right)
        left.copy_(x)
        return whole, right


class Projection:
    """Linear layers of one input, joined, with the LoRA factors of every guide.

    The product's weight is (out, in + G·K·R): the K layers' outputs one after the other, then per guide and layer its B
    in that layer's rows. ``a`` is (in, G·K·R); None without guides.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        factors: Sequence[Sequence[tuple[Tensor, Tensor] | None]],
        turned: Sequence[int],
        inputs: Inputs,
    ) -> None:
        """Join ``layers``, whose weights are taken away.

        Args:
            layers: K linear layers.
            factors: for every guide and layer A (R, in) and scaled B (out, R), or None.
            turned: the head size of layers whose heads are to be interleaved, 0 for others.
            inputs: where inputs are put together.
        """

        def order(tensor: Tensor, head_size: int) -> Tensor:
            return _interleave(tensor, head_size) if head_size else tensor

        first = layers[0].weight
        weights = [order(layer.weight.data, size) for layer, size in zip(layers, turned, strict=True)]
        rank = max((pair[0].shape[0] for row in factors for pair in row if pair is not None), default=0)
        a = torch.zeros(len(factors), len(layers), rank, first.shape[1])
        b = [torch.zeros(weight.shape[0], len(factors), len(layers), rank) for weight in weights]
        for g, row in enumerate(factors):
            for k, pair in enumerate(row):
                if pair is not None:
                    a[g, k, : pair[0].shape[0]] = pair[0]
                    b[k][:, g, k, : pair[1].shape[1]] = order(pair[1], turned[k])
        self.n_own = rank * len(layers)
        self.n_low = len(factors) * self.n_own
        # on a CPU what surrounds the products is fp32, in which small ones are fastest too
        on_cpu = first.device.type == "cpu"
        self.a = a.flatten(0, 2).T.contiguous().to(first.device, torch.float32 if on_cpu else first.dtype)
        self.dtype = first.dtype
        biases = [order(layer.bias, size) for layer, size in zip(layers, turned, strict=True) if layer.bias is not None]
        assert len(biases) in (0, len(layers))
        columns = torch.cat([part.flatten(1) for part in b]).to(first)
        self.product = make_product(
            torch.cat([torch.cat(weights), columns], dim=1), torch.cat(biases) if biases else None
        )
        self._inputs = inputs
        for layer in layers:
            layer.weight = nn.Parameter(first.new_empty(0), requires_grad=False)

    @property
    def nbytes(self) -> int:
        """The bytes that a step reads."""
        return self.product.nbytes + self.a.nbytes

    def __call__(self, x: Tensor, owners: Owners, residual: Tensor | None = None) -> Tensor:
        """Map (N, in) to (N, out), added to ``residual`` (N, out) if given; N is rows times tokens, rows first."""
        whole = self._input(x, owners)
        return self.product(whole) if residual is None else self.product.onto(residual, whole)

    def _input(self, x: Tensor, owners: Owners) -> Tensor:
        if not self.n_low:
            return x.to(self.dtype)
        whole, z = self._inputs.take(x, self.n_low, owners, self.dtype)
        if owners.any:
            torch.mul(torch.mm(x, self.a), owners.mask(self.n_own, x.shape[0], self.a.dtype), out=z)
        return whole


class FusedForward:
    """Reads tokens with the base and all LoRA guides as rows of one pass; see :class:`models.ensemble.ForwardPass`."""

    def __init__(self, model: PreTrainedModel, adapters: Sequence[LoraWeights]) -> None:
        """Join the weights of ``model``, which can only be run through this afterwards."""
        self.body: Any = model.model
        config = model.config
        self.n_heads, self.n_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_size: int = self.body.layers[0].self_attn.head_dim
        # where weights are bf16, a CPU still computes everything between the products in fp32
        self.dtype = torch.float32 if model.device.type == "cpu" else model.dtype
        inputs, modules = Inputs(), dict(model.named_modules())
        self.layers = [self.joined(index, modules, adapters, inputs) for index in range(config.num_hidden_layers)]
        self.norm = Norm(self.body.norm, self.dtype)
        head: Any = model.lm_head
        self.head = make_product(head.weight.data, head.bias)
        if not model.config.tie_word_embeddings:
            head.weight = nn.Parameter(head.weight.new_empty(0), requires_grad=False)
        positions = torch.arange(config.max_position_embeddings, device=model.device)[None]
        cos, sin = self.body.rotary_emb(self.norm.weight.float(), position_ids=positions)
        half = self.head_size // 2
        self.turns = torch.complex(cos[0, :, :half], sin[0, :, :half])

    def joined(
        self, index: int, modules: Mapping[str, nn.Module], adapters: Sequence[LoraWeights], inputs: Inputs
    ) -> "_Layer":
        """Make a layer of the model's ``modules``, whose weights are taken away, with the factors of ``adapters``."""
        prefix = f"model.layers.{index}."
        projections = []
        for group in PROJECTIONS:
            linears = [module for name in group if isinstance(module := modules[prefix + name], nn.Linear)]
            factors = [[adapter.factors.get(prefix + name) for name in group] for adapter in adapters]
            turned = [self.head_size if name in TURNED else 0 for name in group]
            projections.append(Projection(linears, factors, turned, inputs))
        qkv, o, gate_up, down = projections
        layer: Any = modules[prefix.removesuffix(".")]
        head_norms = None
        if hasattr(layer.self_attn, "q_norm"):
            q_norm, k_norm = layer.self_attn.q_norm, layer.self_attn.k_norm
            head_norms = (Norm(q_norm, self.dtype, self.head_size), Norm(k_norm, self.dtype, self.head_size))
        norm_1, norm_2 = Norm(layer.input_layernorm, self.dtype), Norm(layer.post_attention_layernorm, self.dtype)
        return _Layer(qkv, o, gate_up, down, norm_1, norm_2, head_norms, layer.mlp.act_fn)

    @property
    def nbytes(self) -> int:
        """The bytes of weights that a step reads."""
        projections = [p for layer in self.layers for p in (layer.qkv, layer.o, layer.gate_up, layer.down)]
        return sum(projection.nbytes for projection in projections) + self.head.nbytes

    def __call__(self, tokens: Tensor, cache: RowCache, owners: Owners, keep: Tensor | int) -> Tensor:
        """Return logits (R, K, V) after the K positions ``keep`` names; see :class:`models.ensemble.ForwardPass`."""
        n_rows, n_tokens = tokens.shape
        hidden = self.body.embed_tokens(tokens).view(n_rows * n_tokens, -1)
        turns = self.turns[cache.rows.positions][:, :, None]
        mask = self._mask(cache, n_tokens)
        for index, layer in enumerate(self.layers):
            seen = self._attention(layer, index, layer.qkv(layer.norm_1(hidden), owners), (turns, mask), cache)
            hidden = layer.o(seen, owners, hidden)
            gate, up = layer.gate_up(layer.norm_2(hidden), owners).to(self.dtype).chunk(2, dim=-1)
            hidden = layer.down(layer.activate(gate) * up, owners, hidden)
        hidden = hidden.view(n_rows, n_tokens, -1)
        hidden = hidden[:, -keep:] if isinstance(keep, int) else hidden[:, keep]
        last = self.norm(hidden).to(self.body.embed_tokens.weight.dtype)
        return self.head(last.flatten(0, 1)).view(*last.shape[:2], -1)

    def _attention(
        self, layer: "_Layer", index: int, x: Tensor, context: tuple[Tensor, Tensor], cache: RowCache
    ) -> Tensor:
        """Attend with the projected (N, (H + 2·K)·D); returns (N, H·D). ``context`` is the turns and the mask."""
        turns, mask = context
        n_rows, n_tokens = turns.shape[:2]
        heads = x.float().view(n_rows, n_tokens, -1, self.head_size)
        n_turned = self.n_heads + self.n_kv_heads
        turned, values = heads[:, :, :n_turned], heads[:, :, n_turned:]
        if layer.head_norms:
            queries, keys = turned.split([self.n_heads, self.n_kv_heads], dim=2)
            turned = torch.cat([layer.head_norms[0](queries), layer.head_norms[1](keys)], dim=2).float()
        turned = torch.view_as_real(torch.view_as_complex(turned.unflatten(-1, (-1, 2))) * turns).flatten(-2)
        queries, keys = turned.to(self.dtype).transpose(1, 2).split([self.n_heads, self.n_kv_heads], dim=1)
        keys, values = cache.row_layers[index].update(keys, values.to(self.dtype).transpose(1, 2))
        return _attend(queries, keys, values, mask)

    def _mask(self, cache: RowCache, n_tokens: int) -> Tensor:
        """Return the additive mask as :func:`_attend` wants it."""
        n_shared = self.n_heads // self.n_kv_heads
        mask = cache.rows.mask(self.dtype)
        if n_tokens == 1 and mask.device.type == "cpu":
            return mask.expand(-1, self.n_kv_heads, n_shared, -1).flatten(0, 1)
        return mask.repeat(1, 1, n_shared, 1)


class Norm:
    """RMSNorm (Zhang and Sennrich 2019) over the last axis, as transformers' module does it, into ``dtype``."""

    def __init__(self, norm: Any, dtype: torch.dtype, head_size: int = 0) -> None:
        """Take the weight of ``norm``; with ``head_size`` in the order of interleaved heads."""
        weight: Tensor = norm.weight.data.to(dtype)
        self.weight = _interleave(weight, head_size) if head_size else weight
        self._epsilon = float(norm.variance_epsilon)
        self._added = torch.tensor(self._epsilon)
        self.dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise (…, E)."""
        if x.device.type != "cpu":
            return F.rms_norm(x.to(self.dtype), self.weight.shape, self.weight, self._epsilon)
        # on a CPU rms_norm is ten small operations
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x * torch.addcmul(self._added, norm, norm, value=1 / x.shape[-1]).rsqrt_()).mul_(self.weight)


@dataclass(frozen=True)
class _Layer:
    """The parts of one decoder layer."""

    qkv: Projection
    o: Projection
    gate_up: Projection
    down: Projection
    norm_1: Norm
    norm_2: Norm
    head_norms: tuple[Norm, Norm] | None
    activate: Any


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attend from (R, H, T, D) to (R, K, N, D), K dividing H; returns (R·T, H·D).

    The H/K query heads that share keys stand where further tokens of one head would. ``mask`` is additive:
    (R, 1, H/K·T, N), or (R·K, H/K, N) to compute by two batched products, which for one token on a CPU take a third of
    the time of the general kernel.
    """
    n_rows, n_heads, n_tokens, size = queries.shape
    n_kv_heads = keys.shape[1]
    if mask.dim() == 3:
        shared = queries.reshape(n_rows * n_kv_heads, -1, size)
        logits = torch.baddbmm(mask, shared, keys.flatten(0, 1).transpose(1, 2), alpha=size**-0.5)
        return torch.bmm(logits.softmax(dim=-1), values.flatten(0, 1)).view(n_rows, -1)
    shared = queries.reshape(n_rows, n_kv_heads, -1, size)
    seen = F.scaled_dot_product_attention(shared, keys, values, mask)
    return seen.reshape(n_rows, n_heads, n_tokens, size).transpose(1, 2).reshape(n_rows * n_tokens, -1)
