"""Tiny random models on disk, made once per test run: real architectures, a real tokenizer, real PEFT adapters."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt_neox", "gpt2")
SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]
TEMPLATE = (
    "{{ '<|endoftext|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
ALL_LINEAR = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "qwen2": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "qwen3": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
}


def make_tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens with the demo's control tokens; ``extra`` tokens are added at the end."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["the cat sat on the mat and the dog ran to the door"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    if extra:
        tokenizer.add_tokens(list(extra))
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def save_model(
    folder: Path, architecture: str, seed: int, *, extra_rows: int = 0, tokenizer: PreTrainedTokenizerFast | None = None
) -> Path:
    """Save a two-layer model of ``architecture`` with random weights large enough to give it opinions."""
    tokenizer = tokenizer or make_tokenizer()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 128,
    }
    if architecture in ("llama", "qwen2", "qwen3"):
        sizes |= {"num_key_value_heads": 2, "head_dim": 8}
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
    tokens = {"vocab_size": len(tokenizer) + extra_rows, "bos_token_id": 0, "eos_token_id": 4, "pad_token_id": 5}
    config = CONFIG_MAPPING[architecture](**sizes, **tokens, initializer_range=0.3)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_lora(
    folder: Path, base: Path, seed: int, *, rank: int = 4, targets: list[str] | None = None, **options: object
) -> Path:
    """Save a PEFT LoRA adapter on ``base`` with random A and B (PEFT's own start has B = 0, which changes nothing)."""
    model = AutoModelForCausalLM.from_pretrained(base)
    targets = targets or ALL_LINEAR[model.config.model_type]
    options = {"fan_in_fan_out": model.config.model_type == "gpt2"} | options
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM", **options)
    adapter = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapter.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.15
    adapter.save_pretrained(folder)
    return folder
