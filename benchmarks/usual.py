"""Guided decoding the usual way, to compare with: transformers' generate, dynamic caches, the models in turn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from models.loading import fetch
from models.presets import Preset


class GuideProcessor(LogitsProcessor):
    """Adds each guide's log-probs times its exponent to the base's, calling one guide after the other."""

    def __init__(self, guides: Sequence[PreTrainedModel], exponents: Sequence[float]) -> None:
        self.guides = guides
        self.exponents = exponents
        self.caches = [DynamicCache() for _ in guides]
        self.n_seen = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the mixed log-probs (1, V) after ``input_ids`` (1, T); called once per new token."""
        mixed = scores.float().log_softmax(-1)
        for guide, exponent, cache in zip(self.guides, self.exponents, self.caches, strict=True):
            logits = guide(input_ids=input_ids[:, self.n_seen :], past_key_values=cache, use_cache=True).logits[:, -1]
            mixed = mixed + exponent * logits[:, : mixed.shape[-1]].float().log_softmax(-1)
        self.n_seen = input_ids.shape[1]
        return mixed


class UsualWay:
    """A preset's models loaded one by one; LoRA guides are merged, which is their fastest form alone."""

    def __init__(self, preset: Preset, dtype: torch.dtype, device: torch.device) -> None:
        base = fetch(preset.base)

        def load(folder: Path) -> PreTrainedModel:
            model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
            return cast(PreTrainedModel, model.to(device).eval())

        self.base = load(base)
        self.guides: list[PreTrainedModel] = []
        for spec in preset.guides:
            folder = fetch(spec.source)
            is_lora = (folder / "adapter_config.json").exists()
            if is_lora:
                self.guides.append(cast(Any, PeftModel.from_pretrained(load(base), folder)).merge_and_unload())
            else:
                self.guides.append(load(folder))

    @torch.inference_mode()
    def side_by_side(self, prompt: Sequence[int], n_tokens: int, exponents: Sequence[float]) -> None:
        """Write ``n_tokens`` unguided and then ``n_tokens`` guided, as pages without a shared forward pass do."""
        tokens = torch.tensor([prompt], device=self.base.device)
        for processor in ([], [GuideProcessor(self.guides, exponents)]):
            cast(Any, self.base).generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                logits_processor=LogitsProcessorList(processor),
                do_sample=True,
                temperature=0.7,
                top_p=0.95,
                top_k=0,
                max_new_tokens=n_tokens,
                min_new_tokens=n_tokens,
                pad_token_id=0,
            )
