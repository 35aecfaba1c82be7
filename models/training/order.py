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


def in_whole_steps(order: Sequence[Example], batch_size: int, layout: Layout) -> list[Example]:
    """Fill the last step up to ``batch_size`` examples without changing its mean loss.

    A step is divided into parts of equal size, by turns and by processes, and the means of the parts are averaged. So
    that this is the mean of the examples, what fills the last step up weighs nothing and the others the more.
    """
    n_odd = len(order) % batch_size
    if not n_odd:
        return list(order)
    last = [replace(each, weight=each.weight * batch_size / n_odd) for each in order[-n_odd:]]
    filler = replace(min(last, key=lambda each: each.n_tokens(layout)), weight=0.0)
    return [*order[:-n_odd], *last, *[filler] * (batch_size - n_odd)]
