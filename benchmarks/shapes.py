"""Models of well-known shapes with random weights: made where they run, in memory, without a download or a file."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from models.adapters import LoraWeights
from models.answers import GuideInfo
from models.loading import Placement
from models.parts import GuideParts, Parts

N_GUIDES = 4
RANK = 16

_SPECIAL = ("<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>")
_TEMPLATE = (
    "{{ '<|bos|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_WEIGHT_STD = 0.02
# Next-token distributions as peaked as those of trained models: sampling costs more where nearly every token is likely.
_LOGIT_STD = 5.0
# How much a guide adds to the outputs of a linear layer, as a share of what the layer itself puts out.
_DELTA_SHARE = 0.05


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model: ``model_type`` is transformers' name of the architecture."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool
    rope_theta: float
    max_position_embeddings: int = 4096


# Qwen2.5-0.5B, Qwen2.5-1.5B and Llama-2-7B as their config.json files say, but for the context, which costs nothing.
SHAPES = {
    "0.5b": Shape("qwen2", 896, 4864, 24, 14, 2, 151_936, True, 1e6),
    "1.5b": Shape("qwen2", 1536, 8960, 28, 12, 2, 151_936, True, 1e6),
    "7b": Shape("llama", 4096, 11_008, 32, 32, 32, 32_000, False, 1e4),
}


def make_parts(name: str, shape: Shape, placement: Placement, n_guides: int) -> Parts:
    """Return a base model of ``shape`` and its first ``n_guides`` guides; the same at every call."""
    guides = tuple(
        GuideParts(GuideInfo(f"random-{i}", f"dimension {i}", 1.0, f"random {i}", "lora"), lora=make_guide(shape, i))
        for i in range(n_guides)
    )
    return Parts(f"random-{name}", "random", make_model(shape, placement), make_tokenizer(shape.vocab_size), guides)


def make_model(shape: Shape, placement: Placement) -> PreTrainedModel:
    """Return a model of ``shape`` with random weights, made on the placement's device in its dtype; always the same.

    The final norm turns half of the directions around: with tied embeddings a random model would else repeat its input.
    """
    new_config: Any = CONFIG_MAPPING[shape.model_type]
    config = new_config(
        **{name: value for name, value in vars(shape).items() if name not in ("model_type", "rope_theta")},
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=_WEIGHT_STD,
    )
    devices = [placement.device] if placement.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.device(placement.device), torch.no_grad():
        torch.manual_seed(1)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=placement.dtype, attn_implementation="sdpa"
        )
        norm = model.get_submodule("model.norm").weight
        assert isinstance(norm, Tensor)
        signs = torch.randint_like(norm, 0, 2) * 2 - 1
        norm.copy_(signs * _LOGIT_STD / (_WEIGHT_STD * math.sqrt(shape.hidden_size)))
    return model.eval().requires_grad_(False)


def make_guide(shape: Shape, index: int) -> LoraWeights:
    """Return guide ``index``: LoRA of rank 16 on all linear layers, A and B random and small; always the same."""
    generator = torch.Generator().manual_seed(100 + index)
    b_std = _DELTA_SHARE * _WEIGHT_STD / math.sqrt(RANK)
    factors = {}
    for layer in range(shape.num_hidden_layers):
        for module, (n_in, n_out) in _linear_layers(shape).items():
            a = torch.randn(RANK, n_in, generator=generator)
            b = torch.randn(n_out, RANK, generator=generator) * b_std
            factors[f"model.layers.{layer}.{module}"] = (a, b)
    return LoraWeights(factors)


def merge(model: PreTrainedModel, guide: LoraWeights) -> PreTrainedModel:
    """Add a guide's deltas to the weights of ``model``, which is mutated: the fastest form of a guide alone."""
    for name, (a, b) in guide.factors.items():
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        linear.weight.data += (b.to(linear.weight.device) @ a.to(linear.weight.device)).to(linear.weight.dtype)
    return model


def make_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of ``vocab_size`` ids that reads text byte by byte; the other ids are words it never reads."""
    letters = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    words = [f"Ġw{index}" for index in range(vocab_size - len(letters))]
    vocabulary = {token: index for index, token in enumerate([*letters, *words])}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=_SPECIAL[0], eos_token=_SPECIAL[1])
    tokenizer.add_special_tokens({"additional_special_tokens": list(_SPECIAL[2:])})
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _linear_layers(shape: Shape) -> dict[str, tuple[int, int]]:
    """The linear layers of one decoder layer with their sizes (in, out)."""
    size, inner = shape.hidden_size, shape.intermediate_size
    shared = size // shape.num_attention_heads * shape.num_key_value_heads
    attention = {"q_proj": (size, size), "k_proj": (size, shared), "v_proj": (size, shared), "o_proj": (size, size)}
    mlp = {"gate_proj": (size, inner), "up_proj": (size, inner), "down_proj": (inner, size)}
    return {f"self_attn.{name}": sizes for name, sizes in attention.items()} | {
        f"mlp.{name}": sizes for name, sizes in mlp.items()
    }
