"""Whether a guide may become a version: it loads, it fits the base, its numbers are numbers, and it answers."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from models.answers import ComparisonRequest
from models.assembly import assemble, check_together, with_guides
from models.engine import Engine
from models.lineup import Loaded
from models.lineups import Beside
from models.options import EngineOptions, StepPath
from models.parts import GuideParts, Parts
from steering.errors import CapacityError, LoadError
from steering.types import Blend, Message, Role, SamplingSettings

_PROBE = "What should I do?"
_PROBE_TOKENS = 8
ALONE = EngineOptions(max_slots=2, remembers=False, in_background=False, path=StepPath.EAGER)


def check_static(base: Parts, guide: GuideParts) -> None:
    """Check what can be seen without computing anything: modules, shapes, vocabulary, and that all weights are numbers.

    Raises:
        LoadError: of the guide, which does not fit ``base`` or is damaged.
    """
    check_together(replace(base, guides=(guide,)))
    if guide.lora is not None:
        weights = [(name, weight) for name, pair in guide.lora.factors.items() for weight in pair]
    else:
        weights = list(guide.model.named_parameters()) if guide.model is not None else []
    for name, weight in weights:
        if not torch.isfinite(weight).all():
            raise LoadError(
                f"The guide {guide.info.id!r} has weights in {name!r} that are no numbers.",
                hint="Its training failed; train it again.",
            )


def check_beside(engine: Engine, guide: GuideParts) -> None:
    """Check a guide on the base of an engine that is answering: it writes a few tokens beside the others.

    Raises:
        LoadError: it does not fit, is damaged, or returns no numbers.
    """
    check_static(engine.parts, guide)
    alone = replace(guide, info=replace(guide.info, dimension="probe"))

    def build(loaded: Loaded, beside: Beside) -> Loaded:
        return with_guides(loaded, (alone,), beside)

    try:
        with engine.trial(build) as trial:
            for _ in trial.compare(_probe()):
                pass
    except CapacityError:  # no room for both: the static checks, and the engine's own when it swaps, must do
        return


def check_alone(base: Parts, guide: GuideParts) -> None:
    """Check a guide on a base that nothing else uses, whose weights are taken over.

    Raises:
        LoadError: it does not fit, is damaged, or returns no numbers.
    """
    check_static(base, guide)
    engine = assemble(replace(base, guides=(replace(guide, info=replace(guide.info, dimension="probe")),)), ALONE)
    for _ in engine.compare(_probe()):
        pass


def _probe() -> ComparisonRequest:
    blends: Sequence[Blend] = (Blend(), Blend({"probe": 1.0}))
    sampling = SamplingSettings(max_new_tokens=_PROBE_TOKENS, temperature=0.0, stop_at_eos=False)
    return ComparisonRequest((Message(Role.USER, _PROBE),), tuple(blends), sampling)
