"""The slots being decoded together: their rows in one cache per group, and the step that moves all of them."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from models.adapters import Owners
from models.cache import EXACT, Arena, Rounding, RowCache, Source
from models.members import Group, Members
from models.reading import ModelReading
from models.recording import Recorder, run_eagerly
from steering.ensemble import Decide, Reading


class BatchLostError(RuntimeError):
    """The slots of a batch cannot be used any more."""


@dataclass(frozen=True)
class Ways:
    """How a batch is run: how its shapes are rounded, what takes its steps, and the memory its caches may take.

    ``new_recorder`` is called once per batch. ``arena_bytes`` are taken once, which recorded steps need; 0 takes memory
    as it is used. With ``is_ahead`` a step is started before the last one's tokens have been looked at.
    """

    rounding: Rounding = EXACT
    new_recorder: Callable[[], Recorder] = lambda: run_eagerly
    arena_bytes: int = 0
    is_ahead: bool = False


class ModelBatch:
    """Implements :class:`steering.ensemble.Batch`.

    The rows of a group's cache are member-major: the base's, one per place, then each guide's, one per guide column.
    """

    def __init__(self, members: Members, ways: Ways) -> None:
        self.members, self.ways = members, ways
        self._recorder = ways.new_recorder()
        self.slots: list[int | None] = []
        self.columns: list[int | None] = []
        self._n_tokens: dict[int, int] = {}  # how many a slot may come to hold
        shares = _shares(members)
        self._runs = [
            _Run(group, Arena(ways.arena_bytes * share // sum(shares)) if ways.arena_bytes else None)
            for group, share in zip(members.groups, shares, strict=True)
        ]
        self.guided = torch.zeros(0, dtype=torch.int64, device=members.device)
        self._guided_by_columns: dict[tuple[int, int], Tensor] = {}

    @property
    def has_arena(self) -> bool:
        """Whether all memory that its caches may take has been taken already."""
        return any(run.arena is not None and run.arena.is_reserved for run in self._runs)

    def bytes_with(self, n_slots: int, n_columns: int, n_tokens: int) -> int:
        """The bytes of the caches if slots and guide columns of up to ``n_tokens`` tokens joined."""
        n_slots += sum(key is not None for key in self.slots)
        n_columns += sum(key is not None for key in self.columns)
        return bytes_for(self.members, self.ways, n_slots, n_columns, max([n_tokens, *self._n_tokens.values()]))

    @torch.inference_mode()
    def join(self, reading: Reading, keys: Sequence[int], guided: Sequence[bool], n_tokens: int) -> None:
        """See :class:`steering.ensemble.Batch`."""
        read = cast(ModelReading, reading)
        joining = [key for key, is_guided in zip(keys, guided, strict=True) if is_guided]
        longest = max(map(len, read.prompts))
        sources = [part.sources() if part else {} for part in read.parts]
        n_tokens_of = self._n_tokens | dict.fromkeys(keys, longest + n_tokens)
        slots, columns = _seated(self.slots, keys, self.ways), _seated(self.columns, joining, self.ways)
        self._arrange(slots, columns, sources, n_tokens_of)

    @torch.inference_mode()
    def leave(self, keys: Sequence[int]) -> None:
        """See :class:`steering.ensemble.Batch`."""
        slots = [None if key in keys else key for key in self.slots]
        columns = [None if key in keys else key for key in self.columns]
        n_tokens = {key: n for key, n in self._n_tokens.items() if key not in keys}
        nobody: list[dict[int, Source]] = [{} for _ in self._runs]
        self._arrange(_seated(slots, [], self.ways), _seated(columns, [], self.ways), nobody, n_tokens)

    @torch.inference_mode()
    def copy(self, keys: Sequence[int]) -> "ModelBatch":
        """See :class:`steering.ensemble.Batch`; the copy takes its own memory and runs every step."""
        other = ModelBatch(self.members, Ways())
        other.slots, other.columns = list(self.slots), list(self.columns)
        for run, own in zip(self._runs, other._runs, strict=True):
            own.cache = run.cache
        other._arrange(
            [key for key in self.slots if key in keys],
            [key for key in self.columns if key in keys],
            [{} for _ in self._runs],
            {key: self._n_tokens[key] for key in keys},
        )
        return other

    @torch.inference_mode()
    def step(self, tokens: Tensor, decide: Decide, variant: Hashable) -> Tensor:
        """See :class:`steering.ensemble.Batch`."""
        caches = [run.cache for run in self._runs if run.cache is not None]
        for cache in caches:
            cache.rows.look(1)
        shapes = tuple((cache.rows.capacity, cache.rows.n_visible) for cache in caches)
        key = (variant, len(self.slots), len(self.columns), shapes)
        report = self._recorder(key, lambda: self._compute(tokens, decide))
        for cache in caches:
            cache.rows.count(1)
        return report

    @torch.inference_mode()
    def restore(self) -> None:
        """See :class:`steering.ensemble.Batch`: what was written is written again, so only the positions go back."""
        for run in self._runs:
            if run.cache is not None:
                run.cache.rows.restore()

    def _compute(self, tokens: Tensor, decide: Decide) -> Tensor:
        guide_tokens = tokens[self.guided]
        here = torch.cuda.current_stream() if tokens.device.type == "cuda" else None
        outputs: dict[int, Tensor] = {}
        forked: list[tuple[torch.cuda.Stream | None, Tensor]] = []
        # the base last: the others run beside it, each on a stream of its own
        try:
            for index, run in reversed(list(enumerate(self._runs))):
                if run.cache is None or run.owners is None:
                    continue
                guides = guide_tokens.repeat(len(run.group.guides))
                rows = torch.cat([tokens, guides]) if run.group.has_base else guides
                with run.beside(here) as stream:
                    # what another stream reads must not be freed and used again before that stream has joined
                    forked.append((stream, rows))
                    column = rows[:, None].to(run.group.model.device)
                    outputs[index] = run.group.forward(column, run.cache, run.owners, keep=1)[:, -1]
        finally:  # also where one fails: what the others count on would be counted behind `restore`
            for stream, _ in forked:
                if here is not None and stream is not None:
                    here.wait_stream(stream)
        in_order = [outputs[index] for index in sorted(outputs)]
        return decide(self.members.logprobs(in_order, len(self.slots), self.guided))

    def _arrange(
        self,
        slots: list[int | None],
        columns: list[int | None],
        joining: Sequence[dict[int, Source]],
        n_tokens: dict[int, int],
    ) -> None:
        """Give every slot and guide column its place; ``joining`` has the sources of new ones, by group and member.

        Raises:
            BatchLostError: it failed after rows had been moved in an arena, where old and new places overlap.
        """
        capacity = self.ways.rounding.tokens(max(n_tokens.values(), default=0))
        old, new = (self.slots, self.columns), (slots, columns)
        try:
            arranged = [
                run.arranged(old, new, sources, capacity, self.ways.rounding)
                for run, sources in zip(self._runs, joining, strict=True)
            ]
        except Exception as error:
            if self.ways.arena_bytes:
                raise BatchLostError("the answers being written were lost while one joined or left") from error
            raise
        # all or nothing: where one group has no memory left, every group stays as it was
        for run, cache in zip(self._runs, arranged, strict=True):
            run.cache, run.owners = cache, None if cache is None else run.owners_of(slots, columns)
        self.slots, self.columns, self._n_tokens = slots, columns, n_tokens
        size = (len(slots), len(columns))
        if size not in self._guided_by_columns:
            device = self.members.device
            self._guided_by_columns[size] = torch.zeros(len(columns), dtype=torch.int64, device=device)
        self.guided = self._guided_by_columns[size]
        places = [0 if key is None else slots.index(key) for key in columns]
        self.guided.copy_(torch.tensor(places, dtype=torch.int64))


@dataclass
class _Run:
    """One group's rows in a batch; ``cache`` is None while it has none."""

    group: Group
    arena: Arena | None
    cache: RowCache | None = None
    owners: Owners | None = None
    own_stream: "torch.cuda.Stream | None" = None
    _owners_by_size: dict[tuple[int, int], Owners] = field(default_factory=dict)
    _caches_by_size: dict[tuple[int, int], RowCache] = field(default_factory=dict)

    @contextmanager
    def beside(self, here: "torch.cuda.Stream | None") -> Iterator["torch.cuda.Stream | None"]:
        """Let a guide that is a model of its own run on a stream of its own, beside the base; yields that stream."""
        if here is None or self.group.has_base:
            yield None
            return
        self.own_stream = self.own_stream or torch.cuda.Stream()
        self.own_stream.wait_stream(here)
        with torch.cuda.stream(self.own_stream):
            yield self.own_stream

    def rows(self, slots: Sequence[int | None], columns: Sequence[int | None]) -> list[tuple[int, int | None]]:
        """The member and the slot's key of every row."""
        base = [(0, key) for key in slots] if self.group.has_base else []
        return base + [(1 + guide, key) for guide in self.group.guides for key in columns]

    def arranged(
        self,
        old: tuple[Sequence[int | None], Sequence[int | None]],
        new: tuple[Sequence[int | None], Sequence[int | None]],
        joining: dict[int, Source],
        capacity: int,
        rounding: Rounding,
    ) -> RowCache | None:
        """The cache once slots and columns have moved from ``old`` to ``new``; new rows are copied from ``joining``."""
        rows = self.rows(*new)
        if not any(key is not None for _, key in rows):
            return None
        before = self.cache
        held = {} if before is None else {row: index for index, row in enumerate(self.rows(*old)) if row[1] is not None}
        sources: dict[int, Source] = {}
        for index, row in enumerate(rows):
            if before is not None and row in held:
                sources[index] = Source(before, held[row])
            elif row[1] is not None:
                sources[index] = joining[row[0]]
        shape = (len(rows), capacity)
        is_same = before is not None and shape == (before.rows.n_rows, before.rows.capacity) and rounding.is_static
        cache = before if is_same else self._new_cache(shape, rounding, next(iter(sources.values())).cache)
        assert cache is not None
        lengths = [sources[index].length if index in sources else 0 for index in range(len(rows))]
        moved = {i: source for i, source in sources.items() if (source.cache, source.row) != (cache, i)}
        cache.fill(moved, is_clean=self.arena is None)
        cache.rows.set_lengths(lengths, [index for index, (_, key) in enumerate(rows) if key is None])
        return cache

    def owners_of(self, slots: Sequence[int | None], columns: Sequence[int | None]) -> Owners:
        """Whose LoRA each row gets; for one number of slots and columns always the same object."""
        size = (len(slots), len(columns))
        if size not in self._owners_by_size:
            self._owners_by_size[size] = self.group.owners([member for member, _ in self.rows(slots, columns)])
        return self._owners_by_size[size]

    def _new_cache(self, shape: tuple[int, int], rounding: Rounding, like: RowCache) -> RowCache:
        """A cache of ``shape`` rows and tokens; in an arena always the same one, as recorded steps refer to it."""
        if self.arena is not None and shape in self._caches_by_size:
            return self._caches_by_size[shape]
        cache = self.group.new_cache(*shape, rounding)
        cache.hold_like(like, self.arena)
        if self.arena is not None:
            self._caches_by_size[shape] = cache
        return cache


def row_bytes(group: Group) -> int:
    """The bytes of keys and values that one token takes in one row of a group's cache."""
    config = group.model.config.get_text_config()
    n_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # on a CPU keys and values are fp32 whatever the weights are
    item = 4 if group.model.device.type == "cpu" else group.model.dtype.itemsize
    return int(2 * config.num_hidden_layers * n_heads * size * item)


def bytes_for(members: Members, ways: Ways, n_slots: int, n_columns: int, n_tokens: int) -> int:
    """The bytes of caches in which slots and guide columns of up to ``n_tokens`` tokens fit.

    With arenas, which divide their memory among the groups once, it is what all arenas together must have.
    """
    groups, up, capacity = members.groups, ways.rounding.up, ways.rounding.tokens(n_tokens)
    rows = [up(n_slots) * group.has_base + up(n_columns) * len(group.guides) for group in groups]
    n_bytes = [n * capacity * row_bytes(group) for n, group in zip(rows, groups, strict=True)]
    if not ways.arena_bytes:
        return sum(n_bytes)
    shares = _shares(members)
    return max(math.ceil(n * sum(shares) / share) for n, share in zip(n_bytes, shares, strict=True))


def _shares(members: Members) -> list[int]:
    """How memory is divided among the groups: as they need it for one token in every member's row."""
    return [row_bytes(group) * len(group.members(with_guides=True)) for group in members.groups]


def _seated(places: Sequence[int | None], joining: Sequence[int], ways: Ways) -> list[int | None]:
    """Seat more slots: on empty places if there are such, and with as many places as their number is rounded to."""
    n_slots = sum(key is not None for key in places) + len(joining)
    n_places = ways.rounding.up(n_slots)
    waiting = list(joining)
    if n_places < len(places) or not ways.rounding.slots:
        seated: list[int | None] = [key for key in places if key is not None]
    else:
        seated = [waiting.pop(0) if key is None and waiting else key for key in places]
    seated += waiting
    return seated + [None] * (n_places - len(seated))
