"""Reward models as judges of whole responses: loading them and asking them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from models.loading import Placement, choose_placement, load_tokenizer, told_as_load_error
from models.prompting import prompt_ending, prompt_token_ids, response_token_ids
from steering.errors import LoadError
from steering.types import Message

CARD_NAME = "reward.json"
_SCORED_TOGETHER = 32


@dataclass(frozen=True)
class RewardModel:
    """Judges responses; ``model`` has one output, ``dtype`` is what its products are computed in."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    chat_template: str | None = None

    @property
    def eos_token_id(self) -> int:
        """The token that ends a response, where the reward is read."""
        return int(self.tokenizer.eos_token_id)

    def score(self, judged: Sequence[tuple[Sequence[Message], str]]) -> list[float]:
        """Return the reward of each response to its prompt, in the units of the loss: a difference of 1 is odds of e.

        Each response is read as if it ended where it ends, also where it was cut.
        """
        rows = []
        for messages, text in judged:
            prompt = prompt_token_ids(self.tokenizer, messages, self.chat_template)
            ending = prompt_ending(self.tokenizer, messages, self.chat_template)
            rows.append((*prompt, *response_token_ids(self.tokenizer, ending, text), self.eos_token_id))
        return self.score_rows(rows)

    @torch.no_grad()
    def score_rows(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return the reward of each row of token ids: a prompt, its response and the token that ends it."""
        was_training, _ = self.model.training, self.model.eval()
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        found = dict[int, float]()
        for start in range(0, len(order), _SCORED_TOGETHER):
            indices = order[start : start + _SCORED_TOGETHER]
            found |= zip(indices, self.rewards([rows[index] for index in indices]).tolist(), strict=True)
        self.model.train(was_training)
        return [found[index] for index in range(len(rows))]

    def rewards(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the rewards (N,) fp32 of rows of token ids, which are padded on the right."""
        longest, pad = max(map(len, rows)), self.model.config.pad_token_id
        device = self.model.device
        ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=device)
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            # causal attention never looks at the padding, and a mask would only make it slower
            return self.model(input_ids=ids, use_cache=False).logits[:, 0].float()


def load_reward(folder: Path, device: str = "auto") -> RewardModel:
    """Load a reward model that models.training.reward wrote.

    Raises:
        LoadError: there is none in ``folder``, or it is damaged.
    """
    if not (folder / CARD_NAME).is_file():
        raise LoadError(f"There is no reward model in {folder}.", hint="Make it: python -m models.training.reward.")
    return load_classifier(folder, choose_placement(device), None, seed=0)


def load_classifier(folder: Path, placement: Placement, chat_template: str | None, seed: int) -> RewardModel:
    """Load a base or a reward model for training; weights are fp32, and an output that it lacks is drawn by ``seed``.

    Raises:
        LoadError: it is missing or damaged, or its tokenizer does not say what ends an answer.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise LoadError(f"The tokenizer in {folder} does not say what ends an answer.", hint="Set eos_token.")
    with torch.random.fork_rng(), told_as_load_error(f"The model in {folder}"):
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=1,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id or tokenizer.eos_token_id
    return RewardModel(model.to(placement.device), tokenizer, placement.dtype, chat_template)
