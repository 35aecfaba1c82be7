"""Starting with the active versions: the preset's guides, with the published ones in their places."""

import logging
from dataclasses import replace
from pathlib import Path

from models.assembly import assemble, check_dimensions
from models.guides import GuideCard, read_card
from models.loading import Placement, choose_placement, fetch
from models.options import EngineOptions
from models.parts import GuideParts, Parts, load_base, load_guide
from models.presets import GuideSpec, Preset
from models.versions.checking import check_static
from models.versions.publishing import GuideVersions
from models.versions.registry import Registry, Version
from steering.errors import LoadError, TillerError

logger = logging.getLogger(__name__)

_FOLDER = "guides"
_DEFAULTS = EngineOptions()


def open_registry(home: Path, preset: Preset) -> Registry:
    """The versions kept under ``home`` for a preset's base, the preset's own guides among them.

    Raises:
        LoadError: a guide of the preset does not say its dimension, two have one, or a card cannot be read.
    """
    built_in = [_built_in(spec) for spec in preset.guides]
    check_dimensions(tuple(version.dimension for version in built_in))
    return Registry(home / _FOLDER, preset.base.label, built_in)


def load_published(
    preset: Preset, home: Path, *, device: str = "auto", dtype: str = "auto", options: EngineOptions = _DEFAULTS
) -> GuideVersions:
    """Load a preset's base with the active version of every guide, and return the versions with their engine.

    A version that cannot be used is passed over for the one active before it, with an error in the log and a note.

    Raises:
        LoadError: the base or a guide of the preset itself cannot be used.
        CapacityError: the memory does not suffice.
    """
    placement = choose_placement(device, dtype, preset.dtype)
    base = load_base(preset, placement)
    registry, notes = open_registry(home, preset), list[str]()
    guides = [_load_active(registry, dimension, base, placement, notes) for dimension in registry.dimensions]
    engine = assemble(replace(base, guides=tuple(guide for guide in guides if guide)), options)
    return GuideVersions(registry, engine, notes)


def _load_active(
    registry: Registry, dimension: str, base: Parts, placement: Placement, notes: list[str]
) -> GuideParts | None:
    try:
        candidates = registry.candidates(dimension)
    except LoadError as error:
        note(notes, str(error))
        candidates = registry.versions(dimension)[:1]
    for version in candidates:
        try:
            guide = load_guide(version.spec, placement)
            check_static(base, guide)
        except TillerError as error:
            if version.is_built_in:
                raise
            note(notes, f"The guide for {version.name} is active and cannot be used: {error}")
        else:
            return guide
    return None


def note(notes: list[str], text: str) -> None:
    """Say it once, in the log and to the page."""
    if text not in notes:
        logger.error(text)
        notes.append(text)


def _built_in(spec: GuideSpec) -> Version:
    folder = spec.source.folder
    card = read_card(folder) if folder is not None else GuideCard(id=spec.source.label)
    if folder is None and spec.dimension is None:
        card = read_card(fetch(spec.source))
    dimension = spec.dimension or card.dimension
    if not dimension:
        raise LoadError(
            f"The guide {spec.source.label!r} does not say its dimension.", hint="Give dimension in the configuration."
        )
    return Version(dimension, card.version or 0, card, spec, is_built_in=True)
