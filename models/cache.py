"""A key-value cache in which every row has a position of its own.

transformers' static layer keeps one position for the whole batch; here rows of different lengths share one forward
pass, so each row is written at its own positions and an explicit mask says what it may see.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


@dataclass(frozen=True)
class Rounding:
    """How numbers are rounded up, so that few shapes occur.

    Lengths go up to a multiple of ``lengths``, or with ``doubles`` to the next power of two from ``lengths`` to
    ``doubles`` and to multiples of ``doubles`` after it. Slots go up to one of ``slots``; without, every number is its
    own. ``is_static``: rows are written by tensors alone, so that a step can be recorded; otherwise a position that all
    rows share makes writing a plain copy.
    """

    lengths: int = 16
    doubles: int = 0
    slots: tuple[int, ...] = ()
    is_static: bool = False

    def up(self, n_slots: int) -> int:
        """The number of places that ``n_slots`` slots are given."""
        return next((size for size in self.slots if size >= n_slots), n_slots)

    def tokens(self, n_tokens: int) -> int:
        """The number of positions that ``n_tokens`` tokens are given."""
        step = max(self.lengths, min(self.doubles, 1 << max(n_tokens - 1, 0).bit_length()))
        return -(-n_tokens // step) * step


EXACT = Rounding()
# Every shape is recorded once, at its first use: few lengths and few numbers of slots.
STATIC = Rounding(lengths=128, doubles=1024, slots=(0, 1, 2, 4, 8, 16, 32, 64, 128, 256), is_static=True)


class Rows:
    """Where the next tokens of R rows go, shared by all layers of a cache.

    ``lengths`` is how many tokens each row holds, as the host knows it; ``next`` (R, 1) int64 the same on the device
    and ``growth`` (R, 1) int64 how far one step moves it: 1, or 0 for rows that are empty places. :meth:`place` sets,
    for the T tokens about to be read, ``positions`` (R, T) int64; :meth:`look` sets ``n_visible`` and ``shared_start``:
    the first position where it is the same for every row, which makes writing a plain copy.
    """

    def __init__(self, n_rows: int, capacity: int, device: torch.device, rounding: Rounding = EXACT) -> None:
        self.rounding = rounding
        self.capacity = rounding.tokens(capacity)
        self.index = torch.arange(n_rows, device=device)[:, None]
        self.next = torch.zeros_like(self.index)
        self.growth = torch.ones_like(self.index)
        self.positions = self.next
        self.n_visible = 0
        self.shared_start: int | None = None
        self.lengths = [0] * n_rows
        self._empty: set[int] = set()

    @property
    def n_rows(self) -> int:
        """R."""
        return self.index.shape[0]

    def set_lengths(self, lengths: Sequence[int], empty: Sequence[int] = ()) -> None:
        """Say how many tokens each row holds, and which rows are empty places: those never grow."""
        self.lengths, self._empty = list(lengths), set(empty)
        self.next.copy_(torch.tensor(self.lengths, dtype=torch.int64).view(-1, 1))
        self.growth.copy_(torch.tensor([row not in self._empty for row in range(self.n_rows)]).view(-1, 1))

    def restore(self) -> None:
        """Set the device's lengths to what the host knows, after something failed between the two."""
        self.set_lengths(self.lengths, sorted(self._empty))

    def look(self, n_tokens: int) -> None:
        """Decide how many positions attention reads once ``n_tokens`` more tokens stand in every row."""
        last = max(self.lengths) + n_tokens
        assert last <= self.capacity, f"{last} tokens in a cache of {self.capacity}"
        self.n_visible = min(self.rounding.tokens(last), self.capacity)
        is_shared = not self.rounding.is_static and len(set(self.lengths)) == 1
        self.shared_start = self.lengths[0] if is_shared else None

    def place(self, n_tokens: int) -> None:
        """Make room for ``n_tokens`` more tokens in every row, each after that row's own last one."""
        self.positions = self.next if n_tokens == 1 else self.next + torch.arange(n_tokens, device=self.next.device)

    def grow(self, n_tokens: int) -> None:
        """Move on by the tokens that have been written, on the device; the host follows by :meth:`count`."""
        self.next.add_(self.growth, alpha=n_tokens)

    def count(self, n_tokens: int) -> None:
        """Let the host know that every row but the empty places holds ``n_tokens`` more."""
        self.lengths = [n if row in self._empty else n + n_tokens for row, n in enumerate(self.lengths)]

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the additive attention mask (R, 1, T, n_visible) of the placed tokens: 0 is seen, -inf is not."""
        keys = torch.arange(self.n_visible, device=self.index.device)
        hidden = keys > self.positions[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=keys.device).masked_fill_(hidden, -torch.inf)


class Arena:
    """Memory for the keys and values of one cache at a time, taken once: a recorded step finds them where they were."""

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._flat: dict[tuple[int, int], Tensor] = {}

    @property
    def is_reserved(self) -> bool:
        """Whether the memory has been taken."""
        return bool(self._flat)

    def take(self, layer: int, part: int, shape: Sequence[int]) -> Tensor:
        """Return the memory of a layer's keys (``part`` 0) or values (1) in ``shape``; what was there stays.

        ``n_bytes`` is for all layers together and is divided evenly at the first call.
        """
        flat = self._flat[layer, part]
        n = math.prod(shape)
        assert n <= flat.numel(), f"{n} numbers in an arena of {flat.numel()}"
        return flat[:n].view(*shape)

    def reserve(self, n_layers: int, like: Tensor) -> None:
        """Take the memory, in the dtype and on the device of ``like``; once."""
        if not self._flat:
            n = self._n_bytes // like.element_size() // (2 * n_layers)
            self._flat = {(layer, part): like.new_zeros(n) for layer in range(n_layers) for part in (0, 1)}


@dataclass(frozen=True)
class Source:
    """A row to be copied: row ``row`` of ``cache``."""

    cache: "RowCache"
    row: int

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        return self.cache.rows.lengths[self.row]


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, each (R, heads, capacity, head size), allocated at the first write."""

    is_compileable = False
    is_sliding = False

    keys: Tensor
    values: Tensor

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros (never NaN: a masked position is still multiplied by 0) in the shape of the first write."""
        self.hold(
            key_states.new_zeros(self.shape_like(key_states)), value_states.new_zeros(self.shape_like(value_states))
        )

    def shape_like(self, part: Tensor) -> tuple[int, int, int, int]:
        """The shape of this layer's keys or values, with the heads of ``part`` (…, heads, …, head size)."""
        return self.rows.n_rows, part.shape[1], self.rows.capacity, part.shape[3]

    def hold(self, keys: Tensor, values: Tensor) -> None:
        """Keep keys and values in these tensors from now on."""
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write (R, heads, T, head size) at the rows' own positions and return what attention may read."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = self.rows
        if rows.shared_start is not None:
            self.keys.narrow(2, rows.shared_start, key_states.shape[2]).copy_(key_states)
            self.values.narrow(2, rows.shared_start, key_states.shape[2]).copy_(value_states)
        else:
            # a model split over devices has each layer's keys on the layer's own
            index, positions = rows.index.to(self.keys.device), rows.positions.to(self.keys.device)
            self.keys[index, :, positions] = key_states.transpose(1, 2)
            self.values[index, :, positions] = value_states.transpose(1, 2)
        return self.keys[:, :, : rows.n_visible], self.values[:, :, : rows.n_visible]

    def get_seq_length(self) -> int:
        """Unused: positions are given explicitly with every call."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Unused: the mask is given explicitly with every call."""
        return self.rows.n_visible, 0

    def get_max_length(self) -> int:
        """How many positions a row has."""
        return self.rows.capacity

    def get_max_cache_shape(self) -> int:
        """The same under the name it has in transformers before 5.20."""
        return self.rows.capacity


class RowCache(Cache):
    """The cache of R rows of one model: one :class:`RowLayer` per layer around one :class:`Rows`."""

    def __init__(self, n_layers: int, rows: Rows) -> None:
        self.rows = rows
        self.row_layers = [RowLayer(rows) for _ in range(n_layers)]
        super().__init__(layers=list(self.row_layers))

    @property
    def nbytes(self) -> int:
        """The bytes of all keys and values."""
        held = [layer for layer in self.row_layers if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in held)

    def fill(self, sources: Mapping[int, Source], at_most: int | None = None, *, is_clean: bool = True) -> None:
        """Make row r a copy of ``sources[r]``, whose cache may be this one's predecessor in the same memory.

        Keys and values of this cache must be held already; lengths are the caller's to set. Only the first ``at_most``
        tokens are copied, if given. Memory that is not ``is_clean`` is zeroed after them: what an earlier row left
        there is multiplied by 0, but were it NaN, 0 · NaN would spoil this row.
        """
        by_cache: dict[int, list[int]] = {}
        for row, source in sources.items():
            by_cache.setdefault(id(source.cache), []).append(row)
        moves = [
            (
                sources[rows[0]].cache,
                torch.tensor([sources[row].row for row in rows], device=self.rows.index.device),
                torch.tensor(rows, device=self.rows.index.device),
                max(sources[row].length for row in rows) if at_most is None else at_most,
            )
            for rows in by_cache.values()
        ]
        for index, layer in enumerate(self.row_layers):
            copies = []
            for cache, taken, place, n in moves:
                origin = cache.row_layers[index]
                taken = taken.to(origin.keys.device)
                # all are copied out before any is written: old and new rows may share memory
                copies.append((place.to(layer.keys.device), n, origin.keys[taken, :, :n], origin.values[taken, :, :n]))
            for place, n, keys, values in copies:
                for held, copied in ((layer.keys, keys), (layer.values, values)):
                    held[place, :, :n] = copied
                    if not is_clean:
                        held[place, :, n:] = 0

    def hold_like(self, other: "RowCache", arena: Arena | None = None) -> None:
        """Take memory for keys and values shaped as ``other``'s rows, from ``arena`` if given, else fresh zeros."""
        for index, (layer, origin) in enumerate(zip(self.row_layers, other.row_layers, strict=True)):
            if arena is None:
                layer.lazy_initialization(origin.keys, origin.values)
            else:
                arena.reserve(len(self.row_layers), origin.keys)
                keys = arena.take(index, 0, layer.shape_like(origin.keys))
                layer.hold(keys, arena.take(index, 1, layer.shape_like(origin.values)))
