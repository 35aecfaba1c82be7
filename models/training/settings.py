"""What one training run is: its base, its data, its loss, what of the model is trained and how."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.training.data import DataSettings
from models.training.loss import LossSettings
from steering.errors import SettingsError

ALL_LINEAR = "all-linear"
DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class AdapterSettings:
    """A LoRA adapter, or with ``rank`` 0 the whole model.

    ``targets`` are names of linear layers (``q_proj``); each has to match something. ``all-linear`` is every linear
    layer but the output head.

    Raises:
        SettingsError: a value is outside its range.
    """

    rank: int = 8
    lora_alpha: float = 16.0
    targets: tuple[str, ...] = (ALL_LINEAR,)

    def __post_init__(self) -> None:
        if self.rank < 0 or self.lora_alpha <= 0 or not self.targets:
            raise SettingsError(
                f"rank is {self.rank}, lora_alpha {self.lora_alpha}, targets {', '.join(self.targets) or 'none'}.",
                hint="Use a rank of 0 or more, a lora_alpha above 0 and at least one target.",
            )


@dataclass(frozen=True)
class OptimiserSettings:
    """How the weights are changed.

    ``batch_size`` pairs make a step; ``micro_batch_size`` of them are computed at a time (0: all). The learning rate
    rises over the first ``warmup_share`` of the steps and then falls linearly to 0. ``patience`` evaluations without a
    better held-out accuracy end the training, and the best weights are kept (0: it goes to its end, and the last are).
    ``eval_share``: how much of the training lies between two evaluations, which are where a killed run can go on from.
    ``dtype``: what products are computed and frozen weights are kept in, ``auto`` by the device.

    Raises:
        SettingsError: a value is outside its range.
    """

    learning_rate: float = 1e-3
    epochs: float = 1.0
    batch_size: int = 16
    micro_batch_size: int = 0
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    eval_share: float = 0.25
    patience: int = 3
    gradient_checkpointing: bool = False
    dtype: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "batch_size", "max_grad_norm", "eval_share"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be above 0.", hint="Raise it.")
        for name in ("micro_batch_size", "warmup_share", "weight_decay", "patience", "seed"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be 0 or more.", hint="Raise it.")
        if self.dtype not in DTYPES:
            raise SettingsError(f"dtype is {self.dtype!r}; use {', '.join(DTYPES)}.", hint="Use auto.")
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise SettingsError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size {self.micro_batch_size}.",
                hint="Make it one.",
            )


@dataclass(frozen=True)
class CalibrationSettings:
    """How the unit is found: the exponent at which mixing moves the base by ``target_nats`` of KL per token.

    Measured at temperature 1 over ``n_prompts`` held-out prompts, ``n_tokens`` tokens each; 0 prompts: no calibration,
    and the unit is 1.

    Raises:
        SettingsError: a value is outside its range.
    """

    target_nats: float = 0.10
    n_prompts: int = 24
    n_tokens: int = 60

    def __post_init__(self) -> None:
        if self.target_nats <= 0 or self.n_prompts < 0 or self.n_tokens < 1:
            raise SettingsError(
                f"target_nats is {self.target_nats}, n_prompts {self.n_prompts}, n_tokens {self.n_tokens}.",
                hint="Use 0.10 nats, 24 prompts, 60 tokens.",
            )


@dataclass(frozen=True)
class TrainSettings:
    """A training run.

    Args:
        base: a preset's name, a folder or a Hub id: the base model, or with rank 0 the small model that is trained.
        dimension: what the guide prefers.
        data: files or folders of preferences.
        out: the run's folder.
        base_id: what cards call the base; None: its preset's name for it, the Hub id or the folder's name.
        parent: folder of the guide that is trained further.
        replay: the parent's earlier data, mixed in against forgetting.
        judged_as: rows of which dimension are used; None: the guide's own.
        version: of the guide; 0: the parent's and one more.
        licence: of the guide.
        chat_template: Jinja, in place of the tokenizer's own.

    Raises:
        SettingsError: the dimension is empty, "overall" or has "=" in it, or there are no data.
    """

    base: str
    dimension: str
    data: tuple[Path, ...]
    out: Path
    base_id: str | None = None
    parent: Path | None = None
    replay: tuple[Path, ...] = ()
    judged_as: str | None = None
    version: int = 0
    licence: str | None = None
    chat_template: str | None = None
    choice: DataSettings = field(default_factory=DataSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)

    def __post_init__(self) -> None:
        if not self.dimension.strip() or self.dimension == "overall" or "=" in self.dimension:
            raise SettingsError(
                f"The dimension is {self.dimension!r}.", hint="Use a word other than 'overall', without '='."
            )
        if not self.data:
            raise SettingsError("There is no data.", hint="Name files with --data.")

    def as_json(self) -> dict[str, Any]:
        """As plain values; paths as they were given."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
