"""The decode loop: mix, draw, report, one step at a time, for any number of blends of one prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steering.controls import Controls, Slot
from steering.ensemble import Ensemble, Logprobs
from steering.mixing import information, mask_implausible, mix
from steering.sampling import draw
from steering.types import FinishReason, StepTrace, TopAlternative


@dataclass(frozen=True)
class SlotStep:
    """One token of one answer: the index of its slot in the request, what the step reports, and why it ended, if so."""

    slot: int
    trace: StepTrace
    finish_reason: FinishReason | None


@torch.inference_mode()
def decide(logprobs: Logprobs, controls: Controls, n_top: int) -> Tensor:
    """Mix, draw and report one step for B slots; returns (B, 5 + 3·n_top) fp32 on the same device.

    Columns: token id (exact in fp32 up to 2**24), base log-prob, mixed log-prob, KL(mixed ‖ base), entropy, then the
    ``n_top`` likeliest tokens under the mixture as ids, base probs and mixed probs. Mutates ``controls.positions``,
    which it advances by one. Only tensor operations: nothing here waits for the device.
    """
    scores = mix(logprobs, controls.base_exponents, controls.guide_exponents)
    if controls.masks:
        scores = mask_implausible(scores, logprobs.base, controls.log_plausibility)
    tokens = draw(scores, controls)
    controls.positions += 1

    mixed = scores.log_softmax(dim=-1)
    base = logprobs.base
    columns = [
        tokens.float(),
        base.gather(-1, tokens),
        mixed.gather(-1, tokens),
        *information(mixed, base),
    ]
    if n_top:
        top_logprobs, top_ids = mixed.topk(n_top, dim=-1)
        columns += [top_ids.float(), base.gather(-1, top_ids).exp(), top_logprobs.exp()]
    return torch.cat(columns, dim=-1)


class Decoding:
    """Any number of blends of one prompt on their way; the prompt is read when it is made.

    Args:
        ensemble: base and guides.
        prompts: 1 + G token id sequences, the prompt as each member words it, base first.
        slots: one per answer; their ``max_new_tokens`` may differ.
        n_top: how many of the likeliest tokens to report per step.
        scores: whether :meth:`score` will be asked for.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        prompts: Sequence[Sequence[int]],
        slots: Sequence[Slot],
        n_top: int = 0,
        *,
        scores: bool = False,
    ) -> None:
        self._ensemble, self._slots, self._n_top = ensemble, slots, n_top
        self._n_prompt = len(prompts[0])
        guided = [slot.is_guided for slot in slots]
        n_limit = max(slot.sampling.max_new_tokens for slot in slots)
        self._batch, self._logprobs = ensemble.prefill(prompts, guided, n_limit, with_guides=scores or any(guided))

    def steps(self) -> Iterator[list[SlotStep]]:
        """Decode; yields the tokens of one step for the slots still running, until none is. To be called once.

        A slot that ends is released at once. ``guide_logprobs`` stays empty in the steps of a slot no guide saw;
        :meth:`score` gives them afterwards.

        Raises:
            FloatingPointError: a model returned NaN.
        """
        running, n_new, logprobs = list(range(len(self._slots))), 0, self._logprobs
        controls = self._controls(running, n_new)
        while True:
            packed = decide(logprobs, controls, self._n_top)
            tokens = packed[:, 0].long()
            guides = logprobs.guides.gather(-1, tokens[logprobs.guided].expand(logprobs.guides.shape[0], -1)[..., None])
            # the one device-to-host copy of the step
            rows, guide_rows = _to_host(packed, guides[..., 0])
            n_new += 1
            steps = [
                _slot_step(slot, row, self._ensemble, self._slots[slot], n_new, guide_row)
                for slot, row, guide_row in zip(running, rows, _align(guide_rows, running, self._slots), strict=True)
            ]
            yield steps
            kept = [index for index, step in enumerate(steps) if step.finish_reason is None]
            if not kept:
                return
            if len(kept) < len(running):
                running = [running[index] for index in kept]
                self._batch.keep(kept)
                controls = self._controls(running, n_new)
                tokens = tokens[kept]
            logprobs = self._batch.step(tokens)

    def score(self, response: Sequence[int]) -> Tensor:
        """Return (G, T) fp32: each guide's log-prob of each token of a response the guides did not see."""
        return self._batch.score(response)

    def _controls(self, running: Sequence[int], n_new: int) -> Controls:
        ensemble, slots = self._ensemble, [self._slots[index] for index in running]
        position = self._n_prompt + n_new
        return Controls(slots, position, len(ensemble.dimensions), ensemble.vocabulary_size, ensemble.device)


def _to_host(packed: Tensor, guides: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    """Copy (B, C) and (G, Bg) fp32 to the host in one transfer; returns B rows and Bg rows."""
    values = torch.cat([packed.reshape(-1), guides.T.reshape(-1)]).tolist()
    n_slots, n_columns = packed.shape
    n_guides, n_guided = guides.shape
    rows = [values[i * n_columns : (i + 1) * n_columns] for i in range(n_slots)]
    rest = values[n_slots * n_columns :]
    return rows, [rest[i * n_guides : (i + 1) * n_guides] for i in range(n_guided)]


def _align(guide_rows: list[list[float]], running: list[int], slots: Sequence[Slot]) -> list[list[float]]:
    """Give every running slot its guide row; a slot no guide saw gets an empty one."""
    rows = iter(guide_rows)
    return [next(rows) if slots[index].is_guided else [] for index in running]


def _slot_step(
    slot: int, row: list[float], ensemble: Ensemble, settings: Slot, n_new: int, guide_row: list[float]
) -> SlotStep:
    token_id, base_logprob, mixed_logprob, kl, step_entropy, *top = row
    if mixed_logprob != mixed_logprob:
        raise FloatingPointError("a model returned NaN log-probabilities")
    n_top = len(top) // 3
    alternatives = zip(top[:n_top], top[n_top : 2 * n_top], top[2 * n_top :], strict=True)
    trace = StepTrace(
        token_id=int(token_id),
        base_logprob=base_logprob,
        mixed_logprob=mixed_logprob,
        guide_logprobs=dict(zip(ensemble.dimensions, guide_row, strict=False)) if guide_row else {},
        kl=kl,
        entropy=step_entropy,
        top=tuple(TopAlternative(int(token), base, mixed) for token, base, mixed in alternatives),
    )
    reason = None
    if settings.sampling.stop_at_eos and trace.token_id in ensemble.eos_token_ids:
        reason = FinishReason.EOS
    elif n_new >= settings.sampling.max_new_tokens:
        reason = FinishReason.LENGTH
    return SlotStep(slot, trace, reason)
