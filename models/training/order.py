"""The order in which a guide sees its examples, step by step."""

import random
from collections.abc import Sequence
from dataclasses import replace

from models.training.batches import Example, Layout

_SORTED_TOGETHER = 16


def training_order(
    examples: Sequence[Example], epochs: float, batch_size: int, seed: int, layout: Layout
) -> list[Example]:
    """Return the examples in the order of the steps, for all epochs at once.

    Shuffled by ``seed`` alone, then sorted by length within a few batches at a time, so that little is padded, and
    these batches shuffled again. A run that goes on skips what it has seen; there is no other state.
    """
    random_ = random.Random(seed)
    n_left, stream = max(1, round(epochs * len(examples))), list[Example]()
    while n_left > 0:
        stream += random_.sample(list(examples), min(n_left, len(examples)))
        n_left -= len(examples)
    ordered = []
    for start in range(0, len(stream), _SORTED_TOGETHER * batch_size):
        piece = stream[start : start + _SORTED_TOGETHER * batch_size]
        n_odd = len(piece) % batch_size  # only the very last batch may be smaller
        piece, odd = piece[: len(piece) - n_odd], piece[len(piece) - n_odd :]
        piece.sort(key=lambda example: example.n_tokens(layout))
        batches = [piece[at : at + batch_size] for at in range(0, len(piece), batch_size)]
        random_.shuffle(batches)
        ordered += [example for batch in batches for example in batch] + odd
    return ordered


def in_whole_steps(
    order: Sequence[Example], batch_size: int, layout: Layout, *, by_response: bool = False
) -> list[Example]:
    """Fill the last step up to ``batch_size`` examples, and weigh them so that parts of a step add up to its mean loss.

    A step is divided into parts of so many examples each, by turns and by processes; the sum of a part's weighted
    losses is divided by its examples, and the parts are averaged. So that this is the mean over the examples of the
    step, what fills the last one up weighs nothing and the others the more. With ``by_response`` it is the mean over
    the responses of the step, of which an example has one or two and a part more or fewer than another.
    """
    steps = []
    for start in range(0, len(order), batch_size):
        step = order[start : start + batch_size]
        n = sum(len(each.responses) for each in step) if by_response else len(step)
        if n != batch_size:
            step = [replace(each, weight=each.weight * batch_size / n) for each in step]
        filler = replace(min(step, key=lambda each: each.n_tokens(layout)), weight=0.0)
        steps += [*step, *[filler] * (batch_size - len(step))]
    return steps
