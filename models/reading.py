"""A prompt as every member reads it, in pieces, from where an earlier prompt began the same way."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.cache import Source
from models.members import Group, Members
from steering.ensemble import Logprobs

_SCORED_TOGETHER = 128


class ModelReading:
    """Implements :class:`steering.ensemble.Reading`: one cache per group, a row per member.

    Args:
        members: base and guides.
        prompts: 1 + G token id sequences, base first.
        with_guides: whether the guides read their wordings.
        earlier: a reading whose beginning is copied where it is the same; at most all but the last token.
    """

    def __init__(
        self,
        members: Members,
        prompts: Sequence[Sequence[int]],
        *,
        with_guides: bool,
        earlier: "ModelReading | None" = None,
    ) -> None:
        self.prompts = tuple(tuple(prompt) for prompt in prompts)
        self.with_guides = with_guides
        self.members = members
        rows = [(group, group.members(with_guides=with_guides)) for group in members.groups]
        self.parts = [Part(group, own, self.prompts) if own else None for group, own in rows]
        if earlier is not None:
            for part, other in zip(self.parts, earlier.parts, strict=True):
                if part is not None and other is not None:
                    part.begin_like(other)

    @property
    def n_left(self) -> int:
        """See :class:`steering.ensemble.Reading`."""
        return max(part.n_left for part in self.parts if part is not None)

    @property
    def n_prompt(self) -> int:
        """See :class:`steering.ensemble.Reading`."""
        return len(self.prompts[0])

    @property
    def nbytes(self) -> int:
        """The bytes of all caches."""
        return sum(part.cache.nbytes for part in self.parts if part is not None)

    def n_shared(self, prompts: Sequence[Sequence[int]]) -> int:
        """How many tokens the base's wording begins with that ``prompts`` begins with too."""
        return _n_shared(self.prompts[0], prompts[0])

    @torch.inference_mode()
    def advance(self, n_tokens: int) -> None:
        """See :class:`steering.ensemble.Reading`."""
        for part in self.parts:
            if part is not None and part.n_left:
                part.advance(n_tokens)

    @torch.inference_mode()
    def logprobs(self, guided: Sequence[bool]) -> Logprobs:
        """See :class:`steering.ensemble.Reading`."""
        assert not self.n_left
        slots = [slot for slot, is_guided in enumerate(guided) if is_guided]
        outputs = []
        for part in self.parts:
            if part is not None:
                # member-major: the member's row, once per slot that it sees
                counts = [len(guided) if member == 0 else len(slots) for member in part.members]
                rows = [row for row, count in enumerate(counts) for _ in range(count)]
                outputs.append(part.last_logits(rows))
        columns = torch.tensor(slots, dtype=torch.int64, device=self.members.device)
        return self.members.logprobs(outputs, len(guided), columns)

    @torch.inference_mode()
    def score(self, response: Sequence[int]) -> Iterator[Tensor]:
        """See :class:`steering.ensemble.Reading`.

        In pieces, so that a long answer needs no more memory than a short one and others need not wait for it.
        """
        assert self.with_guides
        tokens = torch.tensor(response, device=self.members.device)
        parts = [part for part in self.parts if part is not None and part.group.guides]
        scorers = [_Scorer(part, tokens, self.members.vocabulary_size) for part in parts]
        for start in range(0, len(response), _SCORED_TOGETHER):
            end = min(start + _SCORED_TOGETHER, len(response))
            piece = tokens.new_zeros(len(self.members.dimensions), end - start, dtype=torch.float32)
            for scorer in scorers:
                piece[list(scorer.group.guides)] = scorer.read(start, end).to(piece.device)
            yield piece


class Part:
    """The prompt as read by the members of one group."""

    def __init__(self, group: Group, members: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        self.group, self.members = group, members
        self.prompts = [prompts[member] for member in members]
        self.owners = group.owners(members)
        self.n_read, self._n_longest = 0, max(map(len, self.prompts))
        self.cache = group.new_cache(len(members), self._n_longest)
        self._logits: list[Tensor | None] = [None] * len(members)

    @property
    def n_left(self) -> int:
        """How many tokens of the longest wording are left."""
        return self._n_longest - self.n_read

    def begin_like(self, other: "Part") -> None:
        """Copy what the prompts of both share; the last token is read again, for its logits."""
        rows = {member: row for row, member in enumerate(other.members)}
        if not all(member in rows for member in self.members):
            return
        shared = min(
            _n_shared(prompt, other.prompts[rows[member]])
            for member, prompt in zip(self.members, self.prompts, strict=True)
        )
        shared = min([shared, other.n_read, *(len(prompt) - 1 for prompt in self.prompts)])
        if shared <= 0:
            return
        self.cache.hold_like(other.cache)
        sources = {row: Source(other.cache, rows[member]) for row, member in enumerate(self.members)}
        self.cache.fill(sources, shared)
        self.n_read = shared
        self.cache.rows.set_lengths([shared] * len(self.members))

    def advance(self, n_tokens: int) -> None:
        """Read up to so many more tokens of every wording."""
        start, end = self.n_read, min(self.n_read + n_tokens, self._n_longest)
        # shorter prompts are padded on the right; what is written after their end is never seen, as their next tokens
        # overwrite it one by one
        rows = [[*prompt[start:end], *[0] * (end - max(start, len(prompt)))] for prompt in self.prompts]
        device = self.group.model.device
        ends = sorted({len(prompt) - 1 - start for prompt in self.prompts if start < len(prompt) <= end}) or [0]
        keep = torch.tensor(ends, device=device)
        logits = self.group.read(torch.tensor(rows, device=device), self.cache, self.owners, keep)
        self.n_read = end
        for row, prompt in enumerate(self.prompts):
            if start < len(prompt) <= end:
                self._logits[row] = logits[row, ends.index(len(prompt) - 1 - start)].clone()
        if not self.n_left:
            self.cache.rows.set_lengths([len(prompt) for prompt in self.prompts])

    def last_logits(self, rows: Sequence[int]) -> Tensor:
        """Return the logits (len(rows), ≥V) after the prompt."""
        read = [logits for logits in self._logits if logits is not None]
        assert len(read) == len(self.members)
        return torch.stack(read)[list(rows)]

    def sources(self) -> dict[int, Source]:
        """Where each member's row can be copied from."""
        return {member: Source(self.cache, row) for row, member in enumerate(self.members)}


class _Scorer:
    """Reads a response as one group's guides see it."""

    def __init__(self, part: Part, tokens: Tensor, vocabulary_size: int) -> None:
        self.group = part.group
        members = [1 + index for index in part.group.guides]
        sources = part.sources()
        self._tokens, self._size = tokens.to(part.group.model.device), vocabulary_size
        n_prompt = max(sources[member].length for member in members)
        self._cache = part.group.new_cache(len(members), n_prompt + len(tokens))
        self._cache.hold_like(part.cache)
        self._cache.fill({row: sources[member] for row, member in enumerate(members)})
        self._cache.rows.set_lengths([sources[member].length for member in members])
        self._owners = part.group.owners(members)
        self._next = part.last_logits([part.members.index(member) for member in members])[:, None]

    def read(self, start: int, end: int) -> Tensor:
        """Return (G of the group, end − start) fp32 log-probs, having read all but the last of these tokens."""
        own = self._tokens[start:end]
        logits = self._next
        if end < len(self._tokens) or len(own) > 1:
            # the last token of all has nothing after it to be scored
            read = own if end < len(self._tokens) else own[:-1]
            tokens = read.expand(len(logits), -1)
            following = self.group.read(tokens, self._cache, self._owners, keep=len(read))
            logits = torch.cat([logits, following], dim=1)
            self._next = following[:, -1:]
        logprobs = logits[:, : len(own), : self._size].float().log_softmax(dim=-1)
        return logprobs.gather(-1, own.expand(len(logits), -1)[..., None])[..., 0]


def _n_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
