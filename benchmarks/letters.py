"""A world in which the truth is known: a base that draws letters independently, and letters with true values.

The base is a real Llama whose embeddings are all the same, so every position has the same distribution p over fourteen
letters. The true reward of an answer is the sum of its letters' values w, and labels are drawn from Bradley-Terry. What
maximises E[reward] − KL/λ is then known in closed form: letters drawn from p(v) · exp(λ · w(v)) / Z.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LETTERS = "abcdefghijklmn"
N_LETTERS = 12
EOS = "<|end|>"
_SPECIAL = ("<|begin|>", "<|user|>", "<|assistant|>", EOS)
_TEMPLATE = (
    "{{ '<|begin|>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_NEVER = -25.0  # the logit of everything that is no letter


@dataclass(frozen=True)
class World:
    """A base in a folder; ``ids`` are the letters' tokens, ``probs`` how often the base draws each, ``values`` true."""

    base: Path
    ids: list[int]
    probs: np.ndarray
    values: np.ndarray

    def optimum(self, strength: float) -> tuple[float, float]:
        """Return true reward and KL per letter of the closed-form optimum at λ = ``strength``."""
        tilted = self.probs * np.exp(strength * self.values)
        tilted /= tilted.sum()
        return float(tilted @ self.values), float(tilted @ np.log(tilted / self.probs))

    def pairs(self, n: int, draw: np.random.Generator, *, noisy: bool) -> list[tuple[str, str]]:
        """Draw pairs of answers, chosen first: by Bradley-Terry, or where not ``noisy`` by the true reward itself."""
        pairs = []
        for _ in range(n):
            rows = draw.choice(len(LETTERS), size=(2, N_LETTERS), p=self.probs)
            difference = self.values[rows[0]].sum() - self.values[rows[1]].sum()
            wins = draw.random() < 1 / (1 + np.exp(-difference)) if noisy else difference > 0
            first, second = ("".join(LETTERS[letter] for letter in row) for row in rows)
            pairs.append((first, second) if wins else (second, first))
        return pairs


def make_world(folder: Path, seed: int) -> World:
    """Make a base with random letters' probabilities and values, and save it in ``folder``."""
    tokenizer = _make_tokenizer()
    tokenizer.save_pretrained(folder)
    ids = [tokenizer.get_vocab()[letter] for letter in LETTERS]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        embeddings, head = model.model.embed_tokens.weight, model.lm_head.weight
        embeddings.copy_(embeddings[7].expand_as(embeddings))
        hidden = model.model(torch.tensor([[1, 2, 3]])).last_hidden_state[0, -1]
        letters = 0.3 * head[ids]  # none so rare that its value could not be learnt
        head.copy_((_NEVER * hidden / hidden.norm() ** 2).expand_as(head))
        head[ids] = letters
    model.save_pretrained(folder)
    probs = _probs(folder)[ids]
    assert probs.sum() > 0.9999
    values = np.random.default_rng(seed).normal(size=len(LETTERS)) * 0.8
    return World(folder, ids, probs / probs.sum(), values)


def _probs(folder: Path) -> np.ndarray:
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[5, 6]])).logits[0, -1]
    return np.asarray(logits.double().softmax(-1))


def _make_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *alphabet])}
    backend = Tokenizer(BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=_SPECIAL[0], eos_token=EOS, additional_special_tokens=list(_SPECIAL[1:3])
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer
