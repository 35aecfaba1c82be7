"""Which of two versions agrees better with what people preferred: both read the same pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from models.assembly import put_together
from models.lineup import Loaded
from models.parts import GuideParts, Parts
from models.prompting import answer_end, prompt_ending, prompt_token_ids, response_token_ids
from models.versions.checking import ALONE
from steering.errors import InputError
from steering.types import Message


@dataclass(frozen=True)
class Pair:
    """Two responses to a prompt, of which somebody preferred the first."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str


@dataclass(frozen=True)
class PairTest:
    """How two guides fare on the same pairs: shares of pairs each is right about, and pairs only one is right about.

    ``n_too_long`` more pairs were left out: with the prompt, a response and its end are beyond the model's context.
    ``p_value`` is McNemar's exact test, two-sided: how often so unequal a split of those pairs would come by chance.
    """

    n_pairs: int
    accuracy_a: float
    accuracy_b: float
    n_only_a: int
    n_only_b: int
    n_too_long: int = 0

    @property
    def p_value(self) -> float:
        """The exact two-sided probability under equal chances; 1 where no pair tells them apart."""
        n = self.n_only_a + self.n_only_b
        tail = sum(math.comb(n, k) for k in range(min(self.n_only_a, self.n_only_b) + 1))
        return min(1.0, 2 * tail / 2**n)


def compare_on_pairs(base: Parts, a: GuideParts, b: GuideParts, pairs: Sequence[Pair]) -> PairTest:
    """Score every pair with both guides on a base that nothing else uses, whose weights are taken over.

    A guide is right about a pair where its summed log-prob of the chosen response, its end included, is the higher.

    Raises:
        InputError: there is no pair, or none that fits into the model's context.
        LoadError: a guide does not fit.
    """
    if not pairs:
        raise InputError("There is no pair to compare the versions on.", hint="Give rows of prompt, chosen, rejected.")
    guides = tuple(replace(g, info=replace(g.info, dimension=name)) for g, name in ((a, "a"), (b, "b")))
    loaded = put_together(replace(base, guides=guides), ALONE)
    rewards = [[_rewards(loaded, pair.messages, text) for text in (pair.chosen, pair.rejected)] for pair in pairs]
    margins = [chosen - rejected for chosen, rejected in rewards if chosen is not None and rejected is not None]
    if not margins:
        length = loaded.base.context_length
        raise InputError(
            f"None of the {len(pairs)} pairs fits into the model's context of {length} tokens.",
            hint="Use shorter ones.",
        )
    right = torch.stack(margins) > 0
    only_a, only_b = (right[:, 0] & ~right[:, 1]).sum(), (right[:, 1] & ~right[:, 0]).sum()
    accuracy_a, accuracy_b = right.float().mean(dim=0).tolist()
    n_too_long = len(pairs) - len(margins)
    return PairTest(len(margins), accuracy_a, accuracy_b, int(only_a), int(only_b), n_too_long)


def _rewards(loaded: Loaded, messages: Sequence[Message], response: str) -> torch.Tensor | None:
    """Each guide's summed log-prob (G,) of a response and its end, in nats; None where the context is too short."""
    tokenizer = loaded.tokenizer
    prompts = [prompt_token_ids(tokenizer, messages, template) for template in loaded.chat_templates]
    ending = prompt_ending(tokenizer, messages, loaded.chat_templates[0])  # the base's, as it writes the answers
    ids = [*response_token_ids(tokenizer, ending, response), answer_end(loaded.ensemble.eos_token_ids, tokenizer)]
    if max(map(len, prompts)) + len(ids) > loaded.base.context_length:
        return None
    reading = loaded.ensemble.read(prompts, with_guides=True)
    with torch.inference_mode():
        while reading.n_left:
            reading.advance(loaded.limits.chunk_tokens)
        return torch.stack([piece.sum(dim=-1) for piece in reading.score(ids)]).sum(dim=0)
