"""The decode loop: mix, draw, report, one step at a time, for slots that join and leave as they please."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steering.controls import Controls, Place, Slot
from steering.ensemble import Batch, Ensemble, Logprobs, Reading
from steering.mixing import information, mask_implausible, mix
from steering.noise import token_keys
from steering.sampling import draw
from steering.types import FinishReason, StepTrace, TopAlternative


@torch.inference_mode()
def decide(logprobs: Logprobs, controls: Controls) -> Tensor:
    """Mix, draw and report one step for B slots; returns a flat fp32 tensor on the same device.

    First B rows of 5 + 3·n_top numbers: token id (exact in fp32 up to 2**24), base log-prob, mixed log-prob,
    KL(mixed ‖ base), entropy, then the ``n_top`` likeliest tokens under the mixture as ids, base probs and mixed probs.
    Then Bg rows of G numbers: each guide's log-prob of the token drawn. Mutates ``controls.last_tokens``, which become
    the tokens drawn, and ``controls.positions``. Only tensor operations: nothing here waits for the device.
    """
    base = logprobs.base
    base_exponents = controls.base_exponents if controls.weighs else None
    scores = mix(logprobs, base_exponents, controls.guide_exponents, all_guide=controls.all_guide)
    if controls.masks:
        scores = mask_implausible(scores, base, controls.log_plausibility)
    tokens, likeliest = draw(scores, controls)
    controls.last_tokens.copy_(tokens[:, 0])
    controls.positions += 1

    mixed = scores.log_softmax(dim=-1)
    columns = [tokens.float(), base.gather(-1, tokens), mixed.gather(-1, tokens), *information(mixed, base)]
    if controls.n_top:
        top_ids = mixed.topk(controls.n_top, dim=-1)[1] if likeliest is None else likeliest[:, : controls.n_top]
        columns += [top_ids.float(), base.gather(-1, top_ids).exp(), mixed.gather(-1, top_ids).exp()]
    rows = torch.cat(columns, dim=-1).view(-1)
    if not logprobs.guides.numel():
        return rows
    drawn = tokens[logprobs.guided].expand(logprobs.guides.shape[0], -1, -1)
    return torch.cat([rows, logprobs.guides.gather(-1, drawn)[..., 0].T.reshape(-1)])


@dataclass(frozen=True, slots=True)
class SlotStep:
    """One token of one answer: the key of its slot, why it ended, if so, and the numbers of :func:`decide`."""

    slot: int
    token_id: int
    finish_reason: FinishReason | None
    numbers: Sequence[float]
    guide_logprobs: Sequence[float]
    n_top: int

    @property
    def is_broken(self) -> bool:
        """Whether a model returned NaN."""
        return self.numbers[2] != self.numbers[2]

    def trace(self, dimensions: Sequence[str]) -> StepTrace:
        """Return what the step reports; ``guide_logprobs`` is empty where no guide saw the slot."""
        _, base_logprob, mixed_logprob, kl, entropy, *top = self.numbers
        third = len(top) // 3
        ids, base_probs, mixed_probs = (top[start : start + self.n_top] for start in (0, third, 2 * third))
        return StepTrace(
            token_id=self.token_id,
            base_logprob=base_logprob,
            mixed_logprob=mixed_logprob,
            guide_logprobs=dict(zip(dimensions, self.guide_logprobs, strict=False)) if self.guide_logprobs else {},
            kl=kl,
            entropy=entropy,
            top=tuple(TopAlternative(int(t), b, m) for t, b, m in zip(ids, base_probs, mixed_probs, strict=True)),
        )


class Decoder:
    """Decodes any number of slots at once; they join when their prompt is read, and leave when they end.

    Args:
        ensemble: base and guides.
        is_ahead: start a step before the last one's tokens have been looked at, so that the device need not wait for
            the host. An answer that ends has then one more token computed, which is thrown away.
    """

    def __init__(self, ensemble: Ensemble, *, is_ahead: bool = False) -> None:
        self._ensemble, self._is_ahead = ensemble, is_ahead
        self._batch = ensemble.batch()
        self._tokens = token_keys(ensemble.vocabulary_size, ensemble.device)
        self._places: dict[int, Place] = {}
        self._controls_by_size: dict[tuple[int, int], Controls] = {}
        self._controls = self._arranged(self._batch)
        self._pending: _Report | None = None
        self._ready: list[SlotStep] = []

    @property
    def running(self) -> list[int]:
        """The keys of the slots that have not ended."""
        return list(self._places)

    @property
    def batch(self) -> Batch:
        """Where the slots are."""
        return self._batch

    def join(self, reading: Reading, slots: dict[int, Slot]) -> None:
        """Take in new slots by key, whose prompt was read; the next :meth:`step` reports their first tokens."""
        self._settle_pending()
        keys, guided = list(slots), [slot.is_guided for slot in slots.values()]
        columns = [key for key, slot in slots.items() if slot.is_guided]
        places = {key: Place(slot, reading.n_prompt, 0, slot.sampling.max_new_tokens) for key, slot in slots.items()}
        first = Controls(len(keys), len(columns), len(self._ensemble.dimensions), self._tokens)
        first.load(list(places.values()), [places[key] for key in columns])
        report = _Report(decide(reading.logprobs(guided), first), keys, columns, first.n_top)
        self._batch.join(reading, keys, guided, max(slot.sampling.max_new_tokens for slot in slots.values()))
        try:
            self._places |= places
            self._ready += self._settle(report)
            self._controls = self._arranged(self._batch)
        except Exception:
            # the next step releases what has no place
            self._forget(keys)
            raise

    def leave(self, keys: Sequence[int]) -> None:
        """Release slots that have not ended; nothing more is reported of them."""
        self._settle_pending()
        self._forget(keys)
        self._release_ended()

    def step(self) -> list[SlotStep]:
        """Decode one token of every slot; returns the steps that are ready, at least one while any slot runs.

        A slot that ends is released at once. After an exception the same step can be taken again.
        """
        while not self._ready and self._places:
            before = self._pending
            try:
                self._pending = self._launch(self._batch, self._controls)
            except Exception:
                self._ready += self._settle(before) if before else []
                self._pending = None
                self._batch.restore()
                self._controls = self._arranged(self._batch)
                raise
            if not self._is_ahead:
                self._settle_pending()
            elif before:
                self._ready += self._settle(before)
            self._release_ended()
        self._release_ended()
        steps, self._ready = self._ready, []
        return steps

    def try_alone(self, keys: Sequence[int]) -> None:
        """Take the next step of some slots by themselves, with nothing to show for it: to find out who fails."""
        batch = self._batch.copy(keys)
        n_guides = len(self._ensemble.dimensions)
        controls = Controls(len(batch.slots), len(batch.columns), n_guides, self._tokens)
        controls.load(*self._placed(batch))
        self._launch(batch, controls).rows()

    def _launch(self, batch: Batch, controls: Controls) -> "_Report":
        report = batch.step(controls.last_tokens, lambda logprobs: decide(logprobs, controls), controls.variant)
        return _Report(report, list(batch.slots), list(batch.columns), controls.n_top)

    def _settle_pending(self) -> None:
        if self._pending:
            report, self._pending = self._pending, None
            self._ready += self._settle(report)

    def _settle(self, report: "_Report") -> list[SlotStep]:
        """Wait for a report and make steps of it; the slots that ended are not running any more."""
        steps = []
        rows, guide_rows = report.rows()
        for key, row in zip(report.slots, rows, strict=True):
            place = self._places.get(key) if key is not None else None
            if key is None or place is None:
                continue
            token_id = int(row[0])
            place = self._places[key] = place.after(token_id)
            reason = None
            if place.slot.sampling.stop_at_eos and token_id in self._ensemble.eos_token_ids:
                reason = FinishReason.EOS
            elif not place.n_left:
                reason = FinishReason.LENGTH
            steps.append(SlotStep(key, token_id, reason, row, guide_rows.get(key, ()), place.slot.n_top))
            if reason:
                del self._places[key]
        return steps

    def _forget(self, keys: Sequence[int]) -> None:
        """Report nothing more of slots, which the batch still holds."""
        self._places = {key: place for key, place in self._places.items() if key not in keys}
        self._ready = [step for step in self._ready if step.slot not in keys]

    def _release_ended(self) -> None:
        """Make the batch hold the running slots and no others, and the controls theirs."""
        if any(key is not None and key not in self._places for key in self._batch.slots):
            self._settle_pending()
            self._batch.leave([key for key in self._batch.slots if key is not None and key not in self._places])
            self._controls = self._arranged(self._batch)

    def _placed(self, batch: Batch) -> tuple[list[Place | None], list[Place | None]]:
        """The places and guide columns of a batch with their settings."""
        slots = [None if key is None else self._places.get(key) for key in batch.slots]
        return slots, [None if key is None else self._places.get(key) for key in batch.columns]

    def _arranged(self, batch: Batch) -> Controls:
        """The controls of a batch whose slots have changed; where they are depends on the numbers only."""
        size = (len(batch.slots), len(batch.columns))
        if size not in self._controls_by_size:
            self._controls_by_size[size] = Controls(*size, len(self._ensemble.dimensions), self._tokens)
        controls = self._controls_by_size[size]
        if batch.slots:
            controls.load(*self._placed(batch))
        return controls


class _Report:
    """What :func:`decide` returned, on its way to the host: the one copy of a step."""

    def __init__(self, values: Tensor, slots: Sequence[int | None], columns: Sequence[int | None], n_top: int) -> None:
        self.slots, self._columns, self._n_numbers = slots, columns, 5 + 3 * n_top
        self._copied: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            target = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = target.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        self._values = values

    def rows(self) -> tuple[list[list[float]], dict[int | None, list[float]]]:
        """Wait for the copy; returns the numbers of every slot, and of every guide column by its slot's key."""
        if self._copied:
            self._copied.synchronize()
        values, n = self._values.tolist(), self._n_numbers
        rows = [values[start : start + n] for start in range(0, n * len(self.slots), n)]
        rest = values[n * len(self.slots) :]
        n_guides = len(rest) // len(self._columns) if self._columns else 0
        guides = {key: rest[i * n_guides : (i + 1) * n_guides] for i, key in enumerate(self._columns)}
        return rows, guides
