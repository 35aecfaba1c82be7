"""The guide versions on disk: which there are, which is active, and which were.

    <root>/<dimension>/<version>/    a guide's files and its card; never changed once it is there
    <root>/activations.json          every publishing and rolling back, oldest first; the last ones are active

A version is made in a folder aside and renamed into its place; the file of activations is replaced as a whole. So
whatever ends a process, what another finds is one state or the next. The preset's own guides are versions too, which
are read only.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from filelock import FileLock

from models.files import LOCK, sync_folder, write_whole
from models.guides import CARD_NAME, GuideCard, check_hash, hash_files, is_model_file, read_card
from models.presets import GuideSpec, Source
from models.versions.files import aside, copy_synced, told_as_load_error
from steering.errors import InputError, LoadError

_ACTIVATIONS = "activations.json"
PUBLISHED, ROLLED_BACK = "published", "rolled back"


@dataclass(frozen=True)
class Version:
    """One version of the guide for a dimension; ``spec`` says where its files are. ``is_built_in``: the preset's."""

    dimension: str
    number: int
    card: GuideCard
    spec: GuideSpec
    is_built_in: bool = False

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.dimension} version {self.number}"

    @property
    def folder(self) -> Path | None:
        """Where its files are; None where they are on the Hub."""
        return self.spec.source.folder


@dataclass(frozen=True)
class Activation:
    """That a version became the active one, ``why`` (published or rolled back) and when, UTC.

    ``version`` is None, and ``sha256`` empty, where the first one published was rolled back: there is no guide then.
    """

    base_id: str
    dimension: str
    version: int | None
    sha256: str
    why: str
    at: str


class Registry:
    """The versions of guides for one base model; may be used from any thread and by several processes at once.

    Args:
        root: the folder of all versions; need not exist.
        base_id: the base they are for; versions for others are not seen.
        built_in: the preset's own guides.
    """

    def __init__(self, root: Path, base_id: str, built_in: Sequence[Version] = ()) -> None:
        self.root, self.base_id = root, base_id
        self._built_in = {version.dimension: version for version in built_in}

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Every dimension that has a version: the preset's first."""
        with told_as_load_error(self.root):
            folders = sorted(self.root.iterdir()) if self.root.is_dir() else []
        found = [unquote(folder.name) for folder in folders if folder.is_dir() and not folder.name.startswith(".")]
        own = [dimension for dimension in found if dimension not in self._built_in and self.versions(dimension)]
        return (*self._built_in, *own)

    def versions(self, dimension: str) -> tuple[Version, ...]:
        """The versions for a dimension, oldest first; a folder whose card cannot be read is left out."""
        found = [self._built_in[dimension]] if dimension in self._built_in else []
        for number in self._numbers(dimension):
            try:
                version = self._read(dimension, number)
            except LoadError:
                continue
            if version.card.base_id == self.base_id:
                found.append(version)
        return tuple(found)

    def version(self, dimension: str, number: int) -> Version:
        """The version with that number.

        Raises:
            InputError: there is none.
        """
        versions = {version.number: version for version in self.versions(dimension)}
        if number not in versions:
            there = ", ".join(map(str, versions)) or "none"
            raise InputError(
                f"The guide for {dimension!r} has no version {number} for {self.base_id}.", hint=f"There are: {there}."
            )
        return versions[number]

    def active(self, dimension: str) -> Version | None:
        """The version that answers: the last one published and not rolled back, else the preset's, else none."""
        return next(iter(self.candidates(dimension)), None)

    def candidates(self, dimension: str) -> tuple[Version, ...]:
        """The active version, then those that rolling back again and again leads to."""
        versions = {version.number: version for version in self.versions(dimension)}
        found = [versions[number] for number in reversed(self._stack(dimension)) if number in versions]
        return tuple(found) or tuple(versions[number] for number in self._foundation(dimension))

    def _foundation(self, dimension: str) -> list[int]:
        return [self._built_in[dimension].number] if dimension in self._built_in else []

    def _stack(self, dimension: str) -> list[int]:
        """The active version's number on top of those before it."""
        stack = self._foundation(dimension)
        for activation in self.history(dimension):
            if activation.why == PUBLISHED and activation.version is not None:
                stack.append(activation.version)
            else:
                stack = stack[:-1]
                while stack and stack[-1] != activation.version:
                    stack.pop()
        return stack

    def history(self, dimension: str | None = None) -> tuple[Activation, ...]:
        """Every activation, of one dimension or all, oldest first.

        Raises:
            LoadError: the file cannot be read.
        """
        path = self.root / _ACTIVATIONS
        with told_as_load_error(path):
            text = path.read_text(encoding="utf-8") if path.exists() else '{"activations": []}'
        try:
            activations = [Activation(**entry) for entry in json.loads(text)["activations"]]
        except (ValueError, TypeError, KeyError) as error:
            raise LoadError(
                f"The list of active guides {path} cannot be read: {error}.",
                hint="Mend it, or remove it to go back to the preset's guides.",
            ) from error
        wanted = [a for a in activations if a.base_id == self.base_id and dimension in (None, a.dimension)]
        return tuple(wanted)

    def add(self, folder: Path, dimension: str, facts: dict[str, Any]) -> Version:
        """Copy the guide in ``folder``, which was checked, as the next version for ``dimension``.

        ``facts`` go into its card where the card in ``folder`` does not say them.

        Raises:
            LoadError: it is for another base, its files are not those its card was written for, or the disk refuses.
        """
        with aside(self.root) as fresh, told_as_load_error(self.root):
            for file in sorted(folder.iterdir()):
                if is_model_file(file) or file.name == CARD_NAME:
                    copy_synced(file, fresh / file.name)
            card = json.loads((fresh / CARD_NAME).read_text("utf-8")) if (fresh / CARD_NAME).exists() else {}
            sha256 = check_hash(fresh)
            if card.get("base_id", self.base_id) != self.base_id:
                raise LoadError(
                    f"The guide in {folder} was trained for {card['base_id']!r}; the base is {self.base_id!r}.",
                    hint="Load the base it was trained for, or train one for this base.",
                )
            with self._alone():
                number = max([0, *self._numbers(dimension), *self._foundation(dimension)]) + 1
                facts = {"created_at": now(), **facts, "hash": sha256}
                own = {"dimension": dimension, "version": number, "base_id": self.base_id}
                own["id"] = card.get("id") or f"{self.base_id}-{dimension}"
                given = {key: value for key, value in card.items() if value}
                write_whole(fresh / CARD_NAME, _as_text(facts | given | own))
                parent = self._folder(dimension)
                parent.mkdir(exist_ok=True)
                fresh.rename(parent / str(number))
                sync_folder(parent)
                sync_folder(self.root)
        return self.version(dimension, number)

    def activate(
        self, dimension: str, number: int | None, *, why: str = PUBLISHED, check: Callable[[], object] | None = None
    ) -> Activation:
        """Make a version the active one, or none where that is rolled back to; again changes nothing.

        ``check`` is called when no other process can activate anything: what it raises is passed on, and nothing
        was activated.

        Raises:
            InputError: there is no such version, or ``why`` is rolled back and it is not the one before.
            LoadError: the disk refuses.
        """
        assert number is not None or why == ROLLED_BACK
        version = None if number is None else self.version(dimension, number)
        with told_as_load_error(self.root), self._alone():
            if check is not None:
                check()
            if why == ROLLED_BACK and _number(self.before(dimension)) != number:
                raise InputError(f"That is not what was active for {dimension!r} before.", hint="Publish it instead.")
            made = Activation(self.base_id, dimension, number, sha256_of(version) or "", why, now())
            if why == PUBLISHED and _number(self.active(dimension)) == number:
                return made
            path = self.root / _ACTIVATIONS
            before = json.loads(path.read_text("utf-8"))["activations"] if path.exists() else []
            write_whole(path, _as_text({"activations": [*before, vars(made)]}))
        return made

    def before(self, dimension: str) -> Version | None:
        """The version that rolling back leads to; None: no guide at all, as before the first one was published.

        Raises:
            InputError: nothing was published that could be rolled back.
        """
        candidates = self.candidates(dimension)
        if len(candidates) > 1:
            return candidates[1]
        if not candidates or dimension in self._built_in:
            raise InputError(
                f"No other guide for {dimension!r} was active before.", hint="Publish another version instead."
            )
        return None

    def _alone(self) -> FileLock:
        """What lets no other process or thread do the same."""
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / LOCK)

    def _numbers(self, dimension: str) -> list[int]:
        folder = self._folder(dimension)
        with told_as_load_error(folder):
            names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdecimal())

    def _read(self, dimension: str, number: int) -> Version:
        folder = self._folder(dimension) / str(number)
        card = read_card(folder)
        spec = GuideSpec(Source(str(folder.absolute()), name=card.id), dimension=dimension)
        return Version(dimension, number, card, spec)

    def _folder(self, dimension: str) -> Path:
        return self.root / quote(dimension, safe="").replace(".", "%2E")


def sha256_of(version: Version | None) -> str | None:
    """The hash over a version's files, from its card where that has it; None where they are not on this machine."""
    if version is None:
        return None
    return version.card.hash or (hash_files(version.folder) if version.folder else None)


def _number(version: Version | None) -> int | None:
    return None if version is None else version.number


def _as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1)


def now() -> str:
    """The time, UTC, as cards and activations have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
