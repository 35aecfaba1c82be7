"""What a build is: the sizes there are, and what somebody asks for."""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from models.guides import hash_files
from models.training.data import DataSettings
from models.training.loss import LossSettings
from models.training.settings import AdapterSettings, CalibrationSettings, OptimiserSettings
from steering.errors import SettingsError

DIMENSIONS = ("helpfulness", "harmlessness")
BASE_ID = "tiller-demo"


@dataclass(frozen=True)
class Size:
    """A model's shape and how it is trained.

    ``lengths`` has (share, length) in order: until so much of the training is done, sequences have that many tokens.
    ``n_tokens`` are read in training, ``batch_tokens`` a step. ``muon_rate`` is the learning rate of matrices,
    ``adam_rate`` that of embeddings and norms. ``compiled``: by torch.compile, which wants a C++ compiler.
    """

    vocabulary_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    intermediate_size: int
    n_tokens: int
    lengths: tuple[tuple[float, int], ...] = ((0.7, 256), (1.0, 512))
    batch_tokens: int = 8192
    context_length: int = 1024
    compiled: bool = True
    muon_rate: float = 4e-3
    adam_rate: float = 3e-3
    # a prompt's every pair is learnt from; at most six of it, the default, are tested on
    choice: DataSettings = field(
        default_factory=partial(
            DataSettings, max_prompt_tokens=160, max_response_tokens=160, max_per_prompt=0, max_held_out=1000
        )
    )
    # at 0.1 most held-out pairs lie so far from 0 that the loss sees no difference between them
    loss: LossSettings = field(default_factory=partial(LossSettings, beta=0.01))
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    # to the end: of the few held-out pairs none is spent on choosing when to stop
    optimiser: OptimiserSettings = field(
        default_factory=partial(OptimiserSettings, learning_rate=3e-3, eval_share=0.5, patience=0)
    )
    # a second epoch of helpfulness makes answers of words that there are not
    epochs: dict[str, float] = field(default_factory=lambda: {"helpfulness": 1.0, "harmlessness": 2.0})
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)


SIZES = {
    # 7.5M parameters: two CPU cores, an hour with bf16 matrix units and up to two without
    "small": Size(4096, 256, 8, 4, 704, 24_000_000),
    # 28.8M parameters, 58 MB: a GPU
    "base": Size(6144, 512, 8, 8, 1408, 100_000_000, batch_tokens=32768, muon_rate=3e-3, adam_rate=2e-3),
    # says nothing, but shows in a minute whether every step works
    "tiny": Size(
        400,
        32,
        2,
        2,
        64,
        20_000,
        lengths=((0.5, 32), (1.0, 64)),
        batch_tokens=512,
        context_length=256,
        compiled=False,
        choice=DataSettings(max_prompt_tokens=100, max_response_tokens=100),
        adapter=AdapterSettings(rank=2, lora_alpha=4),
        calibration=CalibrationSettings(n_prompts=2, n_tokens=4),
    ),
}


@dataclass(frozen=True)
class BuildSettings:
    """A build: ``data`` holds pretrain.jsonl and pairs_*.jsonl, perhaps compressed, ``out`` becomes base/ and guides/.

    ``base`` is the folder of a base model that is taken as it is, with its tokenizer, instead of training one.
    ``n_tokens`` is how many tokens the base reads in training; 0: as many as its size is meant for.

    Raises:
        SettingsError: there is no such size, or a number is below 0.
    """

    data: Path
    out: Path
    size: str = "small"
    device: str = "auto"
    base: Path | None = None
    n_tokens: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise SettingsError(f"There is no size {self.size!r}.", hint=f"Use {', '.join(SIZES)}.")
        if self.base is not None and not self.base.is_dir():
            raise SettingsError(f"There is no folder {self.base}.", hint="Check --base.")
        if self.n_tokens < 0 or self.seed < 0:
            raise SettingsError(
                f"tokens is {self.n_tokens} and seed {self.seed}; both must be 0 or more.", hint="Raise them."
            )

    @property
    def shape(self) -> Size:
        """The size by its name."""
        return SIZES[self.size]

    @property
    def tokens_to_read(self) -> int:
        """How many tokens the base reads in training."""
        return self.n_tokens or self.shape.n_tokens

    def as_json(self) -> dict[str, Any]:
        """What makes this build what it is, without paths."""
        shape: dict[str, Any] = json.loads(json.dumps(asdict(self.shape)))  # tuples are lists when read again
        return {
            "size": self.size,
            "device": self.device,
            "base": None if self.base is None else hash_files(self.base),
            "n_tokens": 0 if self.base else self.tokens_to_read,
            "seed": self.seed,
            "shape": shape,
        }
