"""A static key-value cache in which every row has a position of its own.

transformers' static layer keeps one position for the whole batch; here rows of different lengths share one forward
pass, so each row is written at its own positions and an explicit mask says what it may see.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

# Attention reads the cache up to the longest row, rounded up to this many positions, so that its cost follows the real
# length while the number of different shapes stays small.
BUCKET = 16


class RowLayer(CacheLayerMixin):
    """Keys and values of one layer, each (R, heads, capacity, head size), allocated at the first write."""

    is_compileable = False
    is_sliding = False

    keys: Tensor
    values: Tensor

    def __init__(self, rows: "Rows") -> None:
        super().__init__()
        self.rows = rows

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros (never NaN: a masked position is still multiplied by 0) in the shape of the first write."""

        def empty(states: Tensor) -> Tensor:
            return states.new_zeros(self.rows.n_rows, states.shape[1], self.rows.capacity, states.shape[3])

        self.keys, self.values = empty(key_states), empty(value_states)
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
            self.keys[rows.index, :, rows.positions] = key_states.transpose(1, 2)
            self.values[rows.index, :, rows.positions] = value_states.transpose(1, 2)
        return self.keys[:, :, : self.rows.n_visible], self.values[:, :, : self.rows.n_visible]

    def take(self, source: "RowLayer", index: Tensor, n_tokens: int) -> None:
        """Fill this layer with copies of the rows ``index`` (R,) of ``source``, their first ``n_tokens`` positions."""
        self.lazy_initialization(source.keys, source.values)
        self.keys[:, :, :n_tokens] = source.keys[index, :, :n_tokens]
        self.values[:, :, :n_tokens] = source.values[index, :, :n_tokens]

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


class Rows:
    """Where the next tokens of R rows go, shared by all layers of a cache.

    ``lengths`` is how many tokens each row holds. :meth:`place` sets, for the T tokens about to be read, ``index``
    (R, 1) and ``positions`` (R, T), both int64, ``n_visible``, and ``shared_start``: the first position where it is the
    same for every row, which makes writing a plain copy.
    """

    def __init__(self, n_rows: int, capacity: int, device: torch.device) -> None:
        self.n_rows = n_rows
        self.capacity = -(-capacity // BUCKET) * BUCKET
        self.lengths = [0] * n_rows
        self.index = torch.arange(n_rows, device=device)[:, None]
        self.positions = torch.zeros(n_rows, 0, dtype=torch.int64, device=device)
        self.n_visible = 0
        self.shared_start: int | None = None

    def place(self, n_tokens: int) -> None:
        """Make room for ``n_tokens`` more tokens in every row, each after that row's own last one."""
        last = max(self.lengths) + n_tokens
        assert last <= self.capacity, f"{last} tokens in a cache of {self.capacity}"
        device = self.index.device
        self.shared_start = self.lengths[0] if len(set(self.lengths)) == 1 else None
        starts = torch.tensor(self.lengths, device=device)[:, None]
        self.positions = starts + torch.arange(n_tokens, device=device)
        self.n_visible = -(-last // BUCKET) * BUCKET

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Return the additive attention mask (R, 1, T, n_visible) of the placed tokens: 0 is seen, -inf is not."""
        keys = torch.arange(self.n_visible, device=self.index.device)
        hidden = keys > self.positions[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=dtype, device=keys.device).masked_fill_(hidden, -torch.inf)


class RowCache(Cache):
    """The cache of R rows of one model: one :class:`RowLayer` per layer around one :class:`Rows`."""

    def __init__(self, n_layers: int, n_rows: int, capacity: int, device: torch.device) -> None:
        self.rows = Rows(n_rows, capacity, device)
        self.row_layers = [RowLayer(self.rows) for _ in range(n_layers)]
        super().__init__(layers=list(self.row_layers))

    def copy_rows(self, index: Sequence[int], capacity: int) -> "RowCache":
        """Return a new cache whose row i is a copy of this one's row ``index[i]``, of ``capacity`` tokens."""
        device = self.rows.index.device
        copy = RowCache(len(self.layers), len(index), capacity, device)
        copy.rows.lengths = [self.rows.lengths[row] for row in index]
        n_tokens = max(copy.rows.lengths)
        rows = torch.tensor(index, device=device)
        for layer, source in zip(copy.row_layers, self.row_layers, strict=True):
            layer.take(source, rows, n_tokens)
        return copy
