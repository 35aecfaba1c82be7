"""The decode loop: mix, draw, report, one step at a time, for any number of blends of one prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steering.ensemble import Ensemble, Logprobs
from steering.errors import BlendError
from steering.mixing import entropy, kl_divergence, mask_implausible, mix
from steering.noise import gumbel_noise, seed_keys, token_keys
from steering.sampling import draw, truncate
from steering.types import Blend, FinishReason, SamplingSettings, StepTrace, TopAlternative

# Contrastive decoding's own default (Li et al. 2022): without it a negative guide rewards a token for being unlikely.
DEFAULT_PLAUSIBILITY = 0.1


@dataclass(frozen=True)
class Slot:
    """What one answer is decoded with: a blend and its exponents (weight × unit) in the ensemble's order.

    Raises:
        BlendError: a negative exponent with the plausibility mask turned off.
    """

    base_exponent: float
    guide_exponents: tuple[float, ...]
    sampling: SamplingSettings

    def __post_init__(self) -> None:
        if any(a < 0 for a in self.guide_exponents) and self.sampling.plausibility == 0:
            raise BlendError(
                "A guide has a negative weight and the plausibility mask is off (0).",
                hint="Leave plausibility unset (0.1 is used) or give a value above 0.",
            )

    @property
    def is_guided(self) -> bool:
        """Whether any guide has an exponent other than 0."""
        return any(self.guide_exponents)

    @property
    def plausibility(self) -> float:
        """ε of the mask for this slot; 0 is off. An unguided answer is never masked: it is the base model's own."""
        if not self.is_guided:
            return 0.0
        if self.sampling.plausibility is not None:
            return self.sampling.plausibility
        return DEFAULT_PLAUSIBILITY if any(a < 0 for a in self.guide_exponents) else 0.0


def slot_for(blend: Blend, units: dict[str, float], sampling: SamplingSettings) -> Slot:
    """Return the slot of a blend: exponent a_i = weight_i · unit_i, in the order of ``units``.

    Args:
        blend: weights by dimension.
        units: the unit of every guide of the ensemble by dimension, in the ensemble's order.

    Raises:
        BlendError: the blend names a dimension no guide has, or needs a mask that is off.
    """
    unknown = sorted(set(blend.weights) - set(units))
    if unknown:
        raise BlendError(
            f"There is no guide for {', '.join(map(repr, unknown))}.",
            hint=f"The guides loaded are: {', '.join(units) or 'none'}.",
        )
    exponents = tuple(blend.weights.get(dimension, 0.0) * unit for dimension, unit in units.items())
    return Slot(blend.base_exponent, exponents, sampling)


@dataclass(frozen=True)
class SlotStep:
    """One token of one answer: the index of its slot in the request, what the step reports, and why it ended, if so."""

    slot: int
    trace: StepTrace
    finish_reason: FinishReason | None


class Controls:
    """The settings of B slots as tensors on one device, so that a step reads them without asking the host.

    Shapes: ``guide_exponents`` (G, Bg) fp32; ``seeds`` (2, B) and ``tokens`` (V,) int32, keys of the noise; the rest
    (B,): exponents, temperatures, top_p, min_p and log_plausibility fp32, top_k and positions int64. ``truncates``,
    ``masks`` and ``samples`` say whether any slot needs that work at all.
    """

    def __init__(self, slots: Sequence[Slot], position: int, ensemble: Ensemble) -> None:
        device, n_guides = ensemble.device, len(ensemble.dimensions)
        settings = [slot.sampling for slot in slots]
        guided = [slot.guide_exponents for slot in slots if slot.is_guided]

        def reals(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        def whole(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        self.base_exponents = reals([slot.base_exponent for slot in slots])
        self.guide_exponents = (
            torch.tensor(guided, dtype=torch.float32, device=device).view(len(guided), n_guides).T.contiguous()
        )
        self.log_plausibility = reals([slot.plausibility for slot in slots]).log()
        self.temperatures = reals([s.temperature for s in settings])
        self.top_k, self.top_p = whole([s.top_k for s in settings]), reals([s.top_p for s in settings])
        self.min_p = reals([s.min_p for s in settings])
        self.seeds, self.positions = seed_keys(whole([s.seed for s in settings])), whole([position] * len(slots))
        self.tokens = token_keys(ensemble.vocabulary_size, device)
        self.samples = any(s.temperature > 0 for s in settings)
        self.masks = any(slot.plausibility > 0 for slot in slots)
        # greedy takes the likeliest token, which no truncation removes
        self.truncates = any(s.temperature > 0 and (s.top_k or s.top_p < 1 or s.min_p) for s in settings)


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
    kept = scores
    if controls.truncates:
        kept = truncate(scores, controls.temperatures, controls.top_k, controls.top_p, controls.min_p)
    if controls.samples:
        noise = gumbel_noise(controls.seeds, controls.positions, controls.tokens)
        tokens = draw(kept, controls.temperatures, noise)[:, None]
    else:
        tokens = kept.argmax(dim=-1, keepdim=True)
    controls.positions += 1

    mixed = scores.log_softmax(dim=-1)
    base = logprobs.base
    columns = [
        tokens.float(),
        base.gather(-1, tokens),
        mixed.gather(-1, tokens),
        kl_divergence(mixed, base)[:, None],
        entropy(mixed)[:, None],
    ]
    if n_top:
        top_logprobs, top_ids = mixed.topk(n_top, dim=-1)
        columns += [top_ids.float(), base.gather(-1, top_ids).exp(), top_logprobs.exp()]
    return torch.cat(columns, dim=-1)


def decode(
    ensemble: Ensemble, prompts: Sequence[Sequence[int]], slots: Sequence[Slot], n_top: int = 0
) -> Iterator[list[SlotStep]]:
    """Decode every slot after one prompt; yields the tokens of one step for the slots still running.

    Args:
        ensemble: base and guides.
        prompts: 1 + G token id sequences, the prompt as each member words it, base first.
        slots: one per answer; their ``max_new_tokens`` may differ.
        n_top: how many of the likeliest tokens to report per step.

    A slot that ends is released at once. Closing the generator releases all. ``guide_logprobs`` stays empty in the
    steps of a slot no guide saw; :meth:`Ensemble.score` gives them afterwards.

    Raises:
        FloatingPointError: a model returned NaN.
    """
    running = list(range(len(slots)))
    n_new, n_limit = 0, max(slot.sampling.max_new_tokens for slot in slots)
    batch, logprobs = ensemble.prefill(prompts, [slot.is_guided for slot in slots], n_limit)
    controls = Controls(slots, len(prompts[0]), ensemble)
    while True:
        packed = decide(logprobs, controls, n_top)
        tokens = packed[:, 0].long()
        guides = logprobs.guides.gather(-1, tokens[logprobs.guided].expand(logprobs.guides.shape[0], -1)[..., None])
        # the one device-to-host copy of the step
        rows, guide_rows = _to_host(packed, guides[..., 0])
        n_new += 1
        steps = [
            _slot_step(slot, row, ensemble, slots[slot], n_new, guide_row)
            for slot, row, guide_row in zip(running, rows, _align(guide_rows, running, slots), strict=True)
        ]
        yield steps
        kept = [index for index, step in enumerate(steps) if step.finish_reason is None]
        if not kept:
            return
        if len(kept) < len(running):
            running = [running[index] for index in kept]
            batch.keep(kept)
            controls = Controls([slots[index] for index in running], len(prompts[0]) + n_new, ensemble)
            tokens = tokens[kept]
        logprobs = batch.step(tokens)


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
