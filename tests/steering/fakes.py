"""A hand-written ensemble over a tiny vocabulary whose next-token tables are known exactly."""

from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor

from steering.ensemble import Decide, Logprobs, Reading


class TableEnsemble:
    """Members are tables: the logits of the next token depend on the last token only, ``tables`` (1 + G, V, V) fp64.

    ``empty_places`` places without a slot are computed beside those that have one. ``fails`` makes the n-th step from
    now raise.
    """

    def __init__(self, tables: Tensor, eos: frozenset[int] = frozenset(), empty_places: int = 0) -> None:
        self.tables = tables
        self.dimensions = tuple(f"d{index}" for index in range(len(tables) - 1))
        self.vocabulary_size = tables.shape[-1]
        self.eos_token_ids = eos
        self.device = torch.device("cpu")
        self.empty_places = empty_places
        self.fails: int | None = None
        self.n_steps = 0

    def read(self, prompts: Sequence[Sequence[int]], *, with_guides: bool) -> "TableReading":
        return TableReading(self, prompts[0])

    def batch(self) -> "TableBatch":
        return TableBatch(self)

    def look(self, last: Tensor, guided: list[int]) -> Logprobs:
        logprobs = self.tables.float().log_softmax(-1)[:, last]
        return Logprobs(logprobs[0], logprobs[1:][:, guided], torch.tensor(guided, dtype=torch.int64))


class TableReading:
    def __init__(self, ensemble: TableEnsemble, prompt: Sequence[int]) -> None:
        self.ensemble, self.prompt = ensemble, prompt
        self.n_left = self.n_prompt = len(prompt)

    def advance(self, n_tokens: int) -> None:
        self.n_left = max(0, self.n_left - n_tokens)

    def logprobs(self, guided: Sequence[bool]) -> Logprobs:
        slots = [slot for slot, is_guided in enumerate(guided) if is_guided]
        return self.ensemble.look(torch.tensor([self.prompt[-1]] * len(guided)), slots)

    def score(self, response: Sequence[int]) -> Iterator[Tensor]:
        previous = [self.prompt[-1], *response[:-1]]
        yield self.ensemble.tables[1:].float().log_softmax(-1)[:, previous, list(response)]


class TableBatch:
    def __init__(self, ensemble: TableEnsemble) -> None:
        self.ensemble = ensemble
        self.slots: list[int | None] = []
        self.columns: list[int | None] = []

    def join(self, reading: Reading, keys: Sequence[int], guided: Sequence[bool], n_tokens: int) -> None:
        assert reading.n_left == 0
        columns = [key for key in self.columns if key is not None]
        columns += [key for key, is_guided in zip(keys, guided, strict=True) if is_guided]
        self._place([*(key for key in self.slots if key is not None), *keys], columns)

    def leave(self, keys: Sequence[int]) -> None:
        assert set(keys) <= set(self.slots)
        rest = [key for key in self.slots if key is not None and key not in keys]
        self._place(rest, [key for key in self.columns if key in rest])

    def _place(self, keys: Sequence[int], columns: Sequence[int | None]) -> None:
        n_empty = self.ensemble.empty_places if keys else 0
        self.slots = [*[None] * n_empty, *keys]
        self.columns = [*columns, *[None] * n_empty]

    def step(self, tokens: Tensor, decide: Decide, variant: Hashable) -> Tensor:
        ensemble = self.ensemble
        assert len(tokens) == len(self.slots)
        if ensemble.fails is not None:
            ensemble.fails -= 1
            if ensemble.fails < 0:
                ensemble.fails = None
                raise RuntimeError("the table is broken")
        ensemble.n_steps += 1
        return decide(ensemble.look(tokens, [self.slots.index(key) for key in self.columns]))

    def restore(self) -> None:
        pass

    def copy(self, keys: Sequence[int]) -> "TableBatch":
        other = TableBatch(self.ensemble)
        other._place(keys, [key for key in self.columns if key in keys])
        return other
