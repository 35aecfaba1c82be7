"""What a person does with versions while the engine answers: add, publish, roll back, compare, try out."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.assembly import with_guides
from models.engine import Engine, Trial
from models.lineup import Loaded
from models.lineups import Beside
from models.loading import choose_placement, fetch
from models.parts import GuideParts, load_guide
from models.presets import GuideSpec, Source
from models.versions.checking import check_beside, check_static
from models.versions.registry import PUBLISHED, ROLLED_BACK, Activation, Registry, Version, sha256_of
from steering.errors import LoadError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """A version held beside the active guides; ``dimension`` is what a blend calls it, ``trial`` answers with both."""

    version: Version
    dimension: str
    trial: Trial


class GuideVersions:
    """The versions of an engine's guides; may be used from any thread.

    Args:
        registry: the versions on disk.
        engine: what answers with the active ones.
        notes: what went wrong at the start, for the page to show.
    """

    def __init__(self, registry: Registry, engine: Engine, notes: Sequence[str] = ()) -> None:
        self.registry, self.engine, self.notes = registry, engine, tuple(notes)
        self._one_at_a_time = threading.Lock()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Every dimension that has a version."""
        return self.registry.dimensions

    def versions(self, dimension: str) -> tuple[Version, ...]:
        """The versions for a dimension with their cards, oldest first."""
        return self.registry.versions(dimension)

    def active(self, dimension: str) -> Version | None:
        """The version that shall answer, or None; :meth:`answering` is the one that does."""
        return self.registry.active(dimension)

    def answering(self, dimension: str) -> int | None:
        """The number of the version the engine answers with; None where no guide does, or its card has no number."""
        return next((guide.version for guide in self.engine.guides if guide.dimension == dimension), None)

    def history(self, dimension: str | None = None) -> tuple[Activation, ...]:
        """Every publishing and rolling back, oldest first."""
        return self.registry.history(dimension)

    def add(self, source: str, dimension: str | None = None, revision: str | None = None) -> Version:
        """Check the guide in a folder or on the Hub, and keep a copy of it as the next version; not yet published.

        Raises:
            LoadError: it is missing, damaged, or does not fit the base; nothing was added.
        """
        folder, guide = self._read(source, dimension, revision)
        check_beside(self.engine, guide)
        return self.registry.add(folder, guide.info.dimension, added_from(source, revision))

    def publish(self, dimension: str, number: int, *, check: Callable[[], object] | None = None) -> Version:
        """Make a version the active one and have new requests answered by it; those under way end as they began.

        ``check`` is for who publishes without a person's word: it is called when no thread here, and again when no
        other process, can publish or roll back anything. What it raises is passed on; the guide that answered goes on.

        Raises:
            InputError: there is no such version.
            LoadError: it cannot be loaded, or the choice cannot be stored; the guide that answered goes on.
        """
        with self._one_at_a_time:
            version = self.registry.version(dimension, number)
            if check is not None:
                check()  # before anything is loaded; below once more, as loading takes its time
            self._answer_with(dimension, version, PUBLISHED, check)
            return version

    def roll_back(self, dimension: str) -> Version | None:
        """Go back to the version that was active before; None: there is no guide for it any more, as there was none.

        Raises:
            InputError: nothing was published that could be rolled back.
            LoadError: as :meth:`publish`.
        """
        with self._one_at_a_time:
            version = self.registry.before(dimension)
            self._answer_with(dimension, version, ROLLED_BACK)
            return version

    def refresh(self) -> dict[str, Version | None]:
        """Have the engine answer with what another process has published or rolled back.

        Returns what was taken in by dimension; None where there is no guide for it any more.

        Raises:
            LoadError: an active version cannot be used; the guide that answered goes on.
        """
        with self._one_at_a_time:
            shas = {guide.dimension: guide.sha256 for guide in self.engine.guides}
            active = {dimension: self.active(dimension) for dimension in self.dimensions}
            changed = {
                dimension: version
                for dimension, version in active.items()
                if (dimension in shas if version is None else sha256_of(version) not in (None, shas.get(dimension)))
            }
            guides = self.engine.parts.guides
            for dimension, version in changed.items():
                guides = self._with(guides, dimension, version)
            if changed:
                self._use(guides)
            return changed

    def _answer_with(
        self, dimension: str, version: Version | None, why: str, check: Callable[[], object] | None = None
    ) -> None:
        before = self.engine.parts.guides
        self._use(self._with(before, dimension, version))
        number = None if version is None else version.number
        try:
            self.registry.activate(dimension, number, why=why, check=check)
        except BaseException:
            self._use(before)
            raise
        logger.info("The guide for %s is version %s now (%s).", dimension, number, why)

    def _with(self, guides: Sequence[GuideParts], dimension: str, version: Version | None) -> tuple[GuideParts, ...]:
        """Put a version, or nothing, where the guide for its dimension is, in the order that a start has."""
        kept = [guide for guide in guides if guide.info.dimension != dimension]
        order = {name: place for place, name in enumerate(self.dimensions)}
        new = [] if version is None else [self._load(version)]
        return tuple(sorted([*kept, *new], key=lambda guide: order.get(guide.info.dimension, len(order))))

    @contextmanager
    def try_out(self, dimension: str, number: int) -> Iterator[Tried]:
        """Hold a version beside the active guides, under a dimension of its own, while nobody else is answered by it.

        A blend of ``Tried.trial`` may name the active guides and the one tried.

        Raises:
            InputError: there is no such version.
            LoadError: it cannot be loaded.
            CapacityError: memory does not suffice.
        """
        version = self.registry.version(dimension, number)
        guide = self._load(version)
        name = f"{dimension} (version {number})"
        extra = replace(guide, info=replace(guide.info, dimension=name))

        def build(loaded: Loaded, beside: Beside) -> Loaded:
            return with_guides(loaded, (*loaded.parts.guides, extra), beside)

        with self.engine.trial(build) as trial:
            yield Tried(version, name, trial)

    def _use(self, guides: Sequence[GuideParts]) -> None:
        def build(loaded: Loaded, beside: Beside) -> Loaded:
            return with_guides(loaded, guides, beside)

        self.engine.swap(build)

    def _load(self, version: Version) -> GuideParts:
        guide = load_guide(version.spec, choose_placement(self.engine.base.device, self.engine.base.dtype))
        check_static(self.engine.parts, guide)
        return guide

    def _read(self, source: str, dimension: str | None, revision: str | None) -> tuple[Path, GuideParts]:
        spec = spec_of(source, dimension, revision)
        guide = load_guide(spec, choose_placement(self.engine.base.device, self.engine.base.dtype))
        return fetch(spec.source), guide


def spec_of(source: str, dimension: str | None = None, revision: str | None = None) -> GuideSpec:
    """Where a guide is that a person named: a folder, or else a Hub id.

    Raises:
        LoadError: it is written as a path and there is no such folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return GuideSpec(Source(str(folder.absolute())), dimension=dimension)
    if source.startswith((".", "/", "~")):
        raise LoadError(f"There is no folder {source}.", hint="Check the path.")
    return GuideSpec(Source(source, revision), dimension=dimension)


def added_from(source: str, revision: str | None) -> dict[str, Any]:
    """What a card says of a guide that came from the Hub; a path of this machine is nobody's business."""
    return {} if Path(source).expanduser().is_dir() else {"source": f"{source}@{revision}" if revision else source}
