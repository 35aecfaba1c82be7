"""The cases of the decoding benchmark: which engine answers what, by the name that the report gives it."""

import gc
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import psutil
import torch
from transformers import PreTrainedModel

from benchmarks.hardware import held_bytes
from benchmarks.sources import Models
from benchmarks.timing import Timing, time_run, time_together
from benchmarks.usual import UsualWay
from models.answers import ComparisonRequest
from models.assembly import assemble
from models.cache import STATIC
from models.engine import Engine
from models.options import EngineOptions, StepPath
from models.prompting import prompt_token_ids
from steering.types import Blend, Message, Role, SamplingSettings

GROUPS = ("unguided", "side", "grid", "visitors", "usual")
UNGUIDED, BARE, GUIDED = "unguided alone", "unguided, no guides loaded", "guided alone"
USUAL_GUIDED, USUAL_SIDE = "usual way, guided alone", "usual way, side by side"

_GUIDE_NUMBERS = (1, 2, 4)
_N_MAIN_GUIDES = 2
_GRIDS = (5, 9)
_N_TOP = 5
# Every prompt begins with a number of its own, so that none is remembered and the first token has its full price.
_PROMPT = "{number:05d} How can I make friends in a town that is new to me?"
_SPARE = 1.25  # an eighth of what an engine may take is for prompts it remembers

logger = logging.getLogger(__name__)
Case = Callable[[], Timing]


@dataclass(frozen=True)
class Plan:
    """What to measure, and how.

    Args:
        groups: which of :data:`GROUPS`.
        n_tokens: tokens per answer, 2 or more.
        visitors: how many at once, one case each.
        path: how the engine takes its steps.
    """

    groups: tuple[str, ...] = GROUPS
    n_tokens: int = 64
    visitors: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    path: StepPath = StepPath.AUTO


@dataclass
class Cases:
    """Engines and cases by name; ``n_guides`` is how many the main engine has, which all cases use that say nothing."""

    models: Models
    plan: Plan
    n_guides: int
    engines: dict[int, Engine] = field(default_factory=dict)
    engine_bytes: dict[int, int] = field(default_factory=dict)
    usual: UsualWay | None = None
    runs: dict[str, Case] = field(default_factory=dict)
    n_asked: itertools.count = field(default_factory=itertools.count)

    @property
    def main(self) -> Engine:
        """The engine of all cases that do not say another number of guides."""
        return self.engines[self.n_guides]

    def prompt(self) -> str:
        """A prompt that no engine has seen."""
        return _PROMPT.format(number=next(self.n_asked) % 100_000)


def side_by_side(n_guides: int) -> str:
    """The name of that case."""
    return f"side by side, {n_guides} guide{'s' if n_guides != 1 else ''}"


def grid(size: int) -> str:
    """The name of that case."""
    return f"grid of {size} blends"


def together(n_visitors: int) -> str:
    """The name of that case."""
    return f"{n_visitors} visitor{'s' if n_visitors != 1 else ''}, side by side"


def make_cases(models: Models, plan: Plan) -> Cases:
    """Load what the plan needs and return its cases.

    Raises:
        LoadError: a model cannot be loaded.
        CapacityError: the memory does not suffice.
    """
    cases = Cases(models, plan, min(_N_MAIN_GUIDES, models.n_guides))
    if "usual" in plan.groups:  # first, so that engines see how much memory is left
        cases.usual = UsualWay(models.alone(None), [models.alone(guide) for guide in range(cases.n_guides)])
    numbers = {cases.n_guides}
    if "unguided" in plan.groups:
        numbers.add(0)
    if "side" in plan.groups:
        numbers |= {number for number in _GUIDE_NUMBERS if number <= models.n_guides}
    for number in sorted(numbers):
        before = held_bytes(models.device)
        cases.engines[number] = _engine(cases, number)
        for _ in range(2):  # what it takes for its work is part of it
            _single(cases, number, [Blend(), _guided(cases.engines[number])])
        cases.engine_bytes[number] = held_bytes(models.device) - before
    cases.runs = _runs(cases)
    return cases


def _runs(cases: Cases) -> dict[str, Case]:
    groups, n_guides = cases.plan.groups, cases.n_guides
    guided = _guided(cases.main)
    runs: dict[str, Case] = {}
    if "unguided" in groups:
        runs[BARE] = partial(_single, cases, 0, [Blend()], score=False)
        runs[UNGUIDED] = partial(_single, cases, n_guides, [Blend()], score=False)
    if n_guides and {"side", "usual"} & set(groups):
        runs[GUIDED] = partial(_single, cases, n_guides, [guided])
        for number, engine in cases.engines.items():
            if number:
                runs[side_by_side(number)] = partial(_single, cases, number, [Blend(), _guided(engine)])
    if n_guides and "grid" in groups:
        runs.setdefault(side_by_side(n_guides), partial(_single, cases, n_guides, [Blend(), guided]))
        for size in _GRIDS:
            blends = [Blend(dict.fromkeys(guided.weights, 4 * index / size)) for index in range(size)]
            runs[grid(size)] = partial(_single, cases, n_guides, blends)
    if "visitors" in groups:
        for n_visitors in cases.plan.visitors:
            runs[together(n_visitors)] = partial(_together, cases, n_visitors, [Blend(), guided])
    if cases.usual is not None:
        runs[USUAL_GUIDED] = partial(_usual, cases, side=False)
        runs[USUAL_SIDE] = partial(_usual, cases, side=True)
    return runs


def _guided(engine: Engine) -> Blend:
    """Weight 1 for every guide the engine has."""
    return Blend({guide.dimension: 1.0 for guide in engine.guides})


def _messages(cases: Cases) -> tuple[Message, ...]:
    return (Message(Role.USER, cases.prompt()),)


def _request(cases: Cases, blends: Sequence[Blend], *, score: bool = True, seed: int = 0) -> ComparisonRequest:
    """Sampled and traced as on the page; answers do not stop at EOS, so that every case decodes as many tokens."""
    sampling = SamplingSettings(max_new_tokens=cases.plan.n_tokens, stop_at_eos=False, seed=seed)
    return ComparisonRequest(_messages(cases), tuple(blends), sampling, _N_TOP, score)


def _single(cases: Cases, n_guides: int, blends: Sequence[Blend], *, score: bool = True) -> Timing:
    """Time one comparison; without ``score`` no guide does anything for an unguided answer."""
    request = _request(cases, blends, score=score)
    return time_run(lambda: cases.engines[n_guides].compare(request))


def _together(cases: Cases, n_visitors: int, blends: Sequence[Blend]) -> Timing:
    """Time as many comparisons at once, each of its own visitor with a seed of its own."""

    def visit(visitor: int) -> Timing:
        request = _request(cases, blends, seed=visitor)
        return time_run(lambda: cases.main.compare(request, owner=f"visitor {visitor}"))

    return time_together([partial(visit, visitor) for visitor in range(n_visitors)])


def _usual(cases: Cases, *, side: bool) -> Timing:
    assert cases.usual is not None
    prompt, n_tokens = cases.main.prompt_token_ids(_messages(cases)), cases.plan.n_tokens
    exponents = list(cases.main.exponents(_guided(cases.main)).values())
    if not side:
        return cases.usual.guided(prompt, n_tokens, exponents)
    return cases.usual.unguided(prompt, n_tokens).then(cases.usual.guided(prompt, n_tokens, exponents))


def _engine(cases: Cases, n_guides: int) -> Engine:
    """An engine with the first ``n_guides`` guides and as much memory for keys and values as its cases need."""
    plan, is_main = cases.plan, n_guides == cases.n_guides
    most = max([*plan.visitors, 1]) if is_main and "visitors" in plan.groups else 1
    parts = cases.models.parts(n_guides)
    n_slots = STATIC.up(max(2 * most, max(_GRIDS) if is_main else 2))
    n_rows = n_slots + n_guides * STATIC.up(max(most, max(_GRIDS) if is_main else 1))
    n_prompt = len(prompt_token_ids(parts.tokenizer, _messages(cases), parts.chat_template))
    n_bytes = _SPARE * n_rows * STATIC.tokens(n_prompt + plan.n_tokens + 4) * _token_bytes(parts.model)
    free = _free_bytes(cases.models.device) - sum(weight.nbytes for weight in parts.model.parameters())
    fraction = min(max(n_bytes / max(free, 1), 0.02), 0.9)
    logger.debug("An engine of %d guides may take %.1f GB for keys and values.", n_guides, n_bytes / 2**30)
    return assemble(
        parts,
        EngineOptions(
            max_slots=max(n_slots, 64),
            max_waiting=max(most, 32),
            time_limit_seconds=3600.0,
            memory_fraction=fraction,
            path=plan.path,
        ),
    )


def _token_bytes(model: PreTrainedModel) -> int:
    """The bytes of keys and values that a token of one row takes; on a CPU they are fp32 whatever the weights are."""
    config = model.config.get_text_config()
    n_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    item = 4 if model.device.type == "cpu" else model.dtype.itemsize
    return int(2 * config.num_hidden_layers * n_heads * size * item)


def _free_bytes(device: torch.device) -> int:
    gc.collect()
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])
