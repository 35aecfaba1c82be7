"""``guides``: the versions of guides on disk: list, import, publish, roll back, compare, push."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from steering.errors import InputError
from ui.commands.store import GUIDES, HOME, MODELS, add_settings, settings_of
from ui.commands.tables import shown, table

# torch and transformers take seconds to import, which `--help` and typing errors need not wait for.
if TYPE_CHECKING:
    from models.loading import Placement
    from models.parts import GuideParts, Parts
    from models.presets import GuideSpec, Preset
    from models.versions.registry import Registry, Version

FACTS = ("pairs", "accuracy", "unit", "made", "hash", "id")
RESTART = "A Tiller that is running goes on with its guides until it is started again, or told on its page."


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the family's parsers."""
    guides = commands.add_parser("guides", help="versions of guides: list, import, publish, roll back, compare, push")
    family = guides.add_subparsers(dest="guides_command", required=True)
    listing = family.add_parser("list", help="every version, which are active (*), and which were", allow_abbrev=False)
    listing.set_defaults(run=_list)
    importing = family.add_parser(
        "import", help="check a guide on the base and keep a copy as the next version", allow_abbrev=False
    )
    importing.add_argument("source", help="a folder, or a Hub id such as org/name")
    importing.add_argument("--dimension", help="what it was trained to prefer; default: what its card says")
    importing.add_argument("--revision", help="branch, tag or commit on the Hub")
    importing.add_argument("--publish", action="store_true", help="make it the active one at once")
    importing.set_defaults(run=_import)
    publishing = family.add_parser("publish", help="make a version the active one", allow_abbrev=False)
    _add_version(publishing, "version")
    publishing.set_defaults(run=_publish)
    rolling = family.add_parser("roll-back", help="go back to the version active before", allow_abbrev=False)
    rolling.add_argument("dimension")
    rolling.set_defaults(run=_roll_back)
    comparing = family.add_parser("compare", help="two versions side by side", allow_abbrev=False)
    _add_version(comparing, "version", "other")
    comparing.add_argument(
        "--pairs", type=Path, metavar="FILE", help="score these preference pairs (.jsonl, .parquet) with both"
    )
    comparing.set_defaults(run=_compare)
    pushing = family.add_parser("push", help="upload a version to the Hub, with a model card", allow_abbrev=False)
    _add_version(pushing, "version")
    pushing.add_argument("repository", help="Hub id such as me/my-guide; made if there is none")
    pushing.add_argument("--private", action="store_true", help="make the repository private")
    pushing.set_defaults(run=_push)
    for parser in (listing, publishing, rolling, pushing):
        add_settings(parser, HOME, GUIDES)
    for parser in (importing, comparing):
        add_settings(parser, HOME, MODELS)


def _add_version(parser: argparse.ArgumentParser, *numbers: str) -> None:
    parser.add_argument("dimension")
    for name in numbers:
        parser.add_argument(name, type=int, help="its number, as `guides list` shows it")


def _opened(arguments: argparse.Namespace) -> "tuple[Preset, Registry]":
    from models.presets import load_preset

    settings = settings_of(arguments)
    preset = load_preset(settings.preset, settings.config)
    from models.versions.starting import open_registry

    return preset, open_registry(settings.home, preset)


def _list(arguments: argparse.Namespace) -> Iterator[str]:
    _, registry = _opened(arguments)
    rows = []
    for dimension in registry.dimensions:
        active = registry.active(dimension)
        for version in registry.versions(dimension):
            mark = "*" if active is not None and version.number == active.number else ""
            rows.append((f"{version.name}{mark}", *_facts(version)))
    yield from table(("guide", *FACTS), rows)
    history = registry.history()
    if history:
        yield ""
    for entry in history:
        what = "no guide:" if entry.version is None else f"version {entry.version}"
        yield f"{entry.at}  {shown(entry.dimension)} {what} {entry.why}"


def _facts(version: "Version") -> tuple[str, ...]:
    card = version.card
    accuracy = f"{card.held_out_accuracy:.3f}" if card.held_out_accuracy is not None else "-"
    made = "built in" if version.is_built_in else card.created_at or "-"
    unit, n_pairs = f"{card.unit or 1.0:g}", str(card.n_pairs) if card.n_pairs is not None else "-"
    return n_pairs, accuracy, unit, made, (card.hash or "-")[:12], card.id or "-"


def _import(arguments: argparse.Namespace) -> Iterator[str]:
    preset, registry = _opened(arguments)
    from models.loading import fetch
    from models.versions.checking import check_alone
    from models.versions.publishing import added_from, spec_of

    base, placement, load = _loading(arguments, preset)
    spec = spec_of(arguments.source, arguments.dimension, arguments.revision)
    guide = load(spec, placement)
    check_alone(base, guide)
    version = registry.add(fetch(spec.source), guide.info.dimension, added_from(arguments.source, arguments.revision))
    yield f"{shown(version.name)} was checked on {base.base_id} and is kept."
    if arguments.publish:
        registry.activate(version.dimension, version.number)
        yield f"It is the active one now. {RESTART}"


def _loading(
    arguments: argparse.Namespace, preset: "Preset"
) -> "tuple[Parts, Placement, Callable[[GuideSpec, Placement], GuideParts]]":
    from models.loading import choose_placement
    from models.parts import load_base, load_guide

    settings = settings_of(arguments)
    placement = choose_placement(settings.device, settings.dtype, preset.dtype)
    return load_base(preset, placement), placement, load_guide


def _publish(arguments: argparse.Namespace) -> Iterator[str]:
    _, registry = _opened(arguments)
    yield from _activated(registry, registry.version(arguments.dimension, arguments.version), "published")


def _roll_back(arguments: argparse.Namespace) -> Iterator[str]:
    _, registry = _opened(arguments)
    version = registry.before(arguments.dimension)
    if version is not None:
        yield from _activated(registry, version, "rolled back")
        return
    registry.activate(arguments.dimension, None, why="rolled back")
    yield f"There is no guide for {shown(arguments.dimension)} any more. {RESTART}"


def _activated(registry: "Registry", version: "Version", why: str) -> Iterator[str]:
    from models.guides import check_hash

    if version.folder is not None:
        check_hash(version.folder)
    registry.activate(version.dimension, version.number, why=why)
    yield f"{shown(version.name)} is the active one now. {RESTART}"


def _compare(arguments: argparse.Namespace) -> Iterator[str]:
    preset, registry = _opened(arguments)
    a, b = (registry.version(arguments.dimension, number) for number in (arguments.version, arguments.other))
    yield from table(("", a.name, b.name), zip(FACTS, _facts(a), _facts(b), strict=True))
    if arguments.pairs is None:
        return
    from models.training.rows import read_rows
    from models.versions.comparing import Pair, compare_on_pairs

    read = read_rows([arguments.pairs], arguments.dimension)
    pairs = [
        Pair(row.messages, row.chosen, row.rejected)
        for row in [*read.train, *read.held_out]
        if row.chosen is not None and row.rejected is not None
    ]
    base, placement, load = _loading(arguments, preset)
    if not pairs:
        raise InputError(f"{arguments.pairs} has no pair.", hint="Rows have prompt, chosen and rejected.")
    found = compare_on_pairs(base, load(a.spec, placement), load(b.spec, placement), pairs)
    yield ""
    if found.n_too_long:
        yield f"{found.n_too_long} pairs are longer than the model's context and were left out."
    yield f"On {found.n_pairs} pairs: {found.accuracy_a:.3f} and {found.accuracy_b:.3f} right."
    yield f"Only version {a.number} is right about {found.n_only_a}, only version {b.number} about {found.n_only_b}."
    yield f"So unequal a split, or a more unequal one, comes by chance with probability {found.p_value:.2g}."


def _push(arguments: argparse.Namespace) -> Iterator[str]:
    _, registry = _opened(arguments)
    from models.versions.hub import push

    version = registry.version(arguments.dimension, arguments.version)
    yield f"{shown(version.name)} is at {push(version, arguments.repository, private=arguments.private)}"
