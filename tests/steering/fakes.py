"""A hand-written ensemble over a tiny vocabulary whose next-token tables are known exactly."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steering.ensemble import Logprobs


class TableEnsemble:
    """Members are tables: the logits of the next token depend on the last token only, ``tables`` (1 + G, V, V) fp64.

    ``released`` records which slots were let go, so that a test can see that none stays.
    """

    def __init__(self, tables: Tensor, eos: frozenset[int] = frozenset()) -> None:
        self.tables = tables
        self.dimensions = tuple(f"d{index}" for index in range(len(tables) - 1))
        self.vocabulary_size = tables.shape[-1]
        self.eos_token_ids = eos
        self.device = torch.device("cpu")
        self.batches: list[TableBatch] = []

    def prefill(
        self, prompts: Sequence[Sequence[int]], guided: Sequence[bool], max_new_tokens: int, *, with_guides: bool
    ) -> tuple["TableBatch", Logprobs]:
        slots = [slot for slot, is_guided in enumerate(guided) if is_guided]
        assert with_guides or not slots
        batch = TableBatch(self, len(guided), slots, prompts[0][-1])
        self.batches.append(batch)
        return batch, batch.look(torch.tensor([prompts[0][-1]] * len(guided)))


class TableBatch:
    def __init__(self, ensemble: TableEnsemble, n_slots: int, guided: list[int], last_of_prompt: int) -> None:
        self.last_of_prompt = last_of_prompt
        self.ensemble = ensemble
        self.n_slots = n_slots
        self.guided = guided

    def look(self, last: Tensor) -> Logprobs:
        logprobs = self.ensemble.tables.float().log_softmax(-1)[:, last]
        return Logprobs(logprobs[0], logprobs[1:][:, self.guided], torch.tensor(self.guided, dtype=torch.int64))

    def step(self, tokens: Tensor) -> Logprobs:
        assert len(tokens) == self.n_slots
        return self.look(tokens)

    def keep(self, slots: Sequence[int]) -> None:
        self.guided = [new for new, old in enumerate(slots) if old in self.guided]
        self.n_slots = len(slots)

    def score(self, response: Sequence[int]) -> Tensor:
        previous = [self.last_of_prompt, *response[:-1]]
        return self.ensemble.tables[1:].float().log_softmax(-1)[:, previous, list(response)]
