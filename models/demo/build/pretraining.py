"""Training the base model: Muon for matrices, AdamW for the rest, warm-up, a constant rate, a linear decay.

Muon (Jordan et al. 2024) with the update's size matched to AdamW's (Liu et al. 2025, arXiv 2502.16982, eq. 4);
warm-up, stable, decay as in MiniCPM (Hu et al. 2024, arXiv 2404.06395, section 4). Everything that is drawn depends on
the seed and the step alone, so a run that goes on from a checkpoint ends in the weights of one that was never killed.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from models.demo.build.settings import Size
from models.loading import Placement
from steering.errors import SettingsError

logger = logging.getLogger("models.demo.build")

WARMUP_SHARE, DECAY_SHARE = 0.02, 0.6
_CHECKPOINTS, _REPORTS = 20, 100
_VALIDATED_TOGETHER = 16
_MOST_SHARD = "16MB"


@dataclass(frozen=True)
class Step:
    """One step's batch: where in the row of ids each of its sequences starts, and how long they are."""

    length: int
    starts: Tensor


Say = Callable[..., None]
"""Told ``event`` and values as progress goes."""


def plan_steps(n_ids: int, size: Size, n_tokens: int, seed: int) -> list[Step]:
    """Return the batches of all steps, which read ``n_tokens`` in all, to a step.

    A length's epochs cut the ids into windows, each time elsewhere, and take all of them in an order drawn by the seed.

    Raises:
        SettingsError: there are fewer ids than one batch takes.
    """
    n_steps = max(1, round(n_tokens / size.batch_tokens))
    longest = max(length for _, length in size.lengths)
    if n_ids < size.batch_tokens + 2 * longest:
        raise SettingsError(f"The data have {n_ids} tokens; a step reads {size.batch_tokens}.", hint="Use more data.")
    generator = torch.Generator().manual_seed(seed)
    steps = list[Step]()
    for share, length in size.lengths:
        batch, until = size.batch_tokens // length, round(share * n_steps)
        while len(steps) < until:
            offset = int(torch.randint(length, (1,), generator=generator))
            starts = torch.arange(offset, n_ids - length - 1, length)
            starts = starts[torch.randperm(len(starts), generator=generator)]
            whole = [Step(length, each) for each in starts.split(batch) if len(each) == batch]
            steps += whole[: until - len(steps)]
    return steps


def rate_share(step: int, n_steps: int) -> float:
    """The learning rate of a step as a share of the highest: it rises, stays, and falls linearly towards 0."""
    n_warmup = max(1, round(WARMUP_SHARE * n_steps))
    return min((step + 1) / n_warmup, 1.0, (n_steps - step) / max(1.0, DECAY_SHARE * n_steps))


def make_model(size: Size, n_vocabulary: int, seed: int) -> LlamaForCausalLM:
    """Return a base model with random weights, fp32."""
    config = LlamaConfig(
        vocab_size=n_vocabulary,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        num_key_value_heads=size.n_heads,
        max_position_embeddings=size.context_length,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=4,
        pad_token_id=5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


class Pretraining:
    """A training of a base model under way.

    Args:
        size: shape and rates.
        model: the model, which is trained.
        steps: of :func:`plan_steps`.
        placement: where, and in which precision products are computed; weights are fp32.
        checkpoint: file to go on from, written as it goes.

    Raises:
        SettingsError: PyTorch has no Muon, or a compiler is missing.
    """

    def __init__(
        self, size: Size, model: LlamaForCausalLM, steps: Sequence[Step], placement: Placement, checkpoint: Path
    ) -> None:
        self._steps, self._placement, self._checkpoint = steps, placement, checkpoint
        move: Any = model.to  # transformers' annotation of it fits no call
        self.model: LlamaForCausalLM = move(placement.device)
        self.model.train()
        if placement.device.type == "cpu" and size.compiled:
            _check_compiler()
            # Inductor fuses what is around the two products; the fused kernel's way back is slower than both together
            self.model.set_attn_implementation("eager")
        self._loss = torch.compile(_loss, dynamic=False) if size.compiled else _loss
        self._optimisers = _optimisers(size, self.model)
        self._rates = [group["lr"] for optimiser in self._optimisers for group in optimiser.param_groups]
        self.n_done = 0
        if checkpoint.exists():
            state = torch.load(checkpoint, map_location=placement.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimiser, saved in zip(self._optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
            self.n_done = state["n_done"]

    def run(self, ids: Tensor, say: Say) -> None:
        """Take the steps that are left on the ids (N,); tells the loss and the time left, and writes checkpoints."""
        began, first, n_steps = time.monotonic(), self.n_done, len(self._steps)
        for index in range(first, n_steps):
            loss = self._step(ids, index)
            self.n_done = index + 1
            if self.n_done % max(1, n_steps // _REPORTS) == 0 or self.n_done == n_steps:
                seconds = time.monotonic() - began
                left = seconds / (self.n_done - first) * (n_steps - self.n_done)
                say("step", step=self.n_done, n_steps=n_steps, loss=round(float(loss), 4), seconds_left=round(left, 1))
                logger.info("step %d of %d, loss %.3f, %.0f s left", self.n_done, n_steps, float(loss), left)
            if self.n_done % max(1, n_steps // _CHECKPOINTS) == 0 or self.n_done == n_steps:
                self._save()

    def _step(self, ids: Tensor, index: int) -> Tensor:
        step, share = self._steps[index], rate_share(index, len(self._steps))
        groups = (group for optimiser in self._optimisers for group in optimiser.param_groups)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = share * rate
        loss = self._loss(self.model, _windows(ids, step.starts, step.length), self._placement)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
            optimiser.zero_grad()
        return loss.detach()

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "n_done": self.n_done,
        }
        aside = self._checkpoint.with_suffix(".new")
        torch.save(state, aside)
        aside.replace(self._checkpoint)


def validation_loss(model: PreTrainedModel, ids: Tensor, length: int, placement: Placement) -> float:
    """Return the mean loss per token over ids (N,) read in windows of ``length``, in nats.

    Raises:
        SettingsError: there are too few for one window.
    """
    starts = torch.arange(0, len(ids) - length - 1, length)
    if not len(starts):
        raise SettingsError(f"The validation data have only {len(ids)} tokens.", hint="Use more data.")
    was_training, _ = model.training, model.eval()
    with torch.no_grad():
        batches = starts.split(_VALIDATED_TOGETHER)
        losses = [_loss(model, _windows(ids, each, length), placement) * len(each) for each in batches]
    model.train(was_training)
    return float(torch.stack(losses).sum() / len(starts))


def save_base(model: Any, folder: Path) -> None:
    """Save the weights in bf16, in files of at most 16 MB; ``model`` is in bf16 afterwards."""
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=_MOST_SHARD)


def _optimisers(size: Size, model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    if not hasattr(torch.optim, "Muon"):
        raise SettingsError(f"PyTorch {torch.__version__} has no Muon.", hint="Build with PyTorch 2.9 or newer.")
    embedding = model.get_input_embeddings().weight
    weights = list(model.parameters())
    matrices = [weight for weight in weights if weight.ndim == 2 and weight is not embedding]
    others = [weight for weight in weights if weight.ndim != 2 or weight is embedding]
    muon = torch.optim.Muon(matrices, lr=size.muon_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(others, lr=size.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)]


def _check_compiler() -> None:
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # what torch.compile calls
    if shutil.which(name) is None:
        raise SettingsError(f"The training is compiled, and there is no {name}.", hint="Install it, or set CXX.")


def _windows(ids: Tensor, starts: Tensor, length: int) -> Tensor:
    """Return (B, length + 1) ids from each start on."""
    return ids[starts[:, None] + torch.arange(length + 1)].long()


def _loss(model: Any, windows: Tensor, placement: Placement) -> Tensor:
    """Return the mean loss of predicting each window's next tokens, fp32."""
    windows = windows.to(placement.device)
    with torch.autocast(placement.device.type, placement.dtype, enabled=placement.dtype != torch.float32):
        logits = model(input_ids=windows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
