"""What the engine must give, computed the plain way: PEFT's own forward over the whole sequence, mixed in float64."""

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM


class Oracle:
    """Base and guides as models of their own; ``guides`` are adapter folders on ``base`` or model folders."""

    def __init__(self, base: Path, guides: Sequence[Path], dtype: torch.dtype = torch.float32) -> None:
        self.base = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
        self.guides = []
        for folder in guides:
            if (folder / "adapter_config.json").exists():
                own_base = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
                self.guides.append(PeftModel.from_pretrained(own_base, folder).eval())
            else:
                self.guides.append(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval())

    @torch.no_grad()
    def members(self, prompts: Sequence[Sequence[int]], response: Sequence[int], vocabulary_size: int) -> Tensor:
        """Log-probs (1 + G, T, V) fp64 before each of T tokens of ``response``, from scratch for every token."""
        rows = []
        for model, prompt in zip([self.base, *self.guides], prompts, strict=True):
            steps = []
            for n in range(len(response)):
                tokens = torch.tensor([[*prompt, *response[:n]]])
                logits = model(input_ids=tokens, use_cache=False).logits[0, -1, :vocabulary_size]
                steps.append(logits.double().log_softmax(-1))
            rows.append(torch.stack(steps))
        return torch.stack(rows)


def mixed_logprobs(members: Tensor, exponents: Sequence[float], base_exponent: float = 1.0) -> Tensor:
    """The mixing formula in float64 over (1 + G, T, V); returns (T, V)."""
    weights = torch.tensor([base_exponent, *exponents], dtype=torch.float64)
    return (weights[:, None, None] * members).sum(0).log_softmax(-1)
