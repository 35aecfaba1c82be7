"""The ensemble over transformers models: its members, how their steps are taken, and the prompts it remembers."""

from collections.abc import Sequence

import torch

from models.batch import ModelBatch, Ways
from models.members import Members
from models.reading import ModelReading


class ModelEnsemble:
    """Implements :class:`steering.ensemble.Ensemble`.

    Args:
        members: base and guides.
        ways: how steps are taken.
        remembered_bytes: how much memory the prompts read before may take, for those that begin the same way: the same
            prompt under another blend, or the chat so far. 0 remembers none.
    """

    def __init__(self, members: Members, ways: Ways, remembered_bytes: int) -> None:
        self.members, self.ways, self.remembered_bytes = members, ways, remembered_bytes
        self._remembered: list[ModelReading] = []  # the one used last is last

    @property
    def dimensions(self) -> tuple[str, ...]:
        """See :class:`steering.ensemble.Ensemble`."""
        return self.members.dimensions

    @property
    def vocabulary_size(self) -> int:
        """See :class:`steering.ensemble.Ensemble`."""
        return self.members.vocabulary_size

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """See :class:`steering.ensemble.Ensemble`."""
        return self.members.eos_token_ids

    @property
    def device(self) -> torch.device:
        """See :class:`steering.ensemble.Ensemble`."""
        return self.members.device

    def batch(self) -> ModelBatch:
        """See :class:`steering.ensemble.Ensemble`."""
        return ModelBatch(self.members, self.ways)

    def read(self, prompts: Sequence[Sequence[int]], *, with_guides: bool) -> ModelReading:
        """See :class:`steering.ensemble.Ensemble`; what an earlier prompt shares with this one is not read again."""
        wanted = tuple(tuple(prompt) for prompt in prompts)
        usable = [reading for reading in self._remembered if reading.with_guides or not with_guides]
        for reading in usable:
            if reading.prompts == wanted:
                self.remember(reading)
                return reading
        nearest = max(usable, key=lambda reading: reading.n_shared(wanted), default=None)
        if nearest is not None and nearest.n_shared(wanted):
            self.remember(nearest)
        return ModelReading(self.members, wanted, with_guides=with_guides, earlier=nearest)

    def remember(self, reading: ModelReading) -> None:
        """Keep a prompt that has been read, and forget those used longest ago that have no room beside it."""
        self._remembered = [other for other in self._remembered if other is not reading] + [reading]
        while self._remembered and sum(other.nbytes for other in self._remembered) > self.remembered_bytes:
            del self._remembered[0]

    def forget(self) -> None:
        """Forget every prompt."""
        self._remembered.clear()
