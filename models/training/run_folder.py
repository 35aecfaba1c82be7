"""The folder of a training run: settings, progress, checkpoints and, when all is done, the guide.

settings.json     what was asked for, with the hash of the data: a run goes on only with the same
progress.jsonl    one event a line, for whoever watches; see docs/training.md
checkpoints/      to go on from after a kill
guide/            the finished guide; it appears whole, by renaming
.lock             held by the process that works in here
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from models.files import LOCK, write_whole
from models.guides import CARD_NAME
from models.training.processes import Cancelled
from steering.errors import SettingsError, TillerError

PROGRESS, SETTINGS, CHECKPOINTS, GUIDE = "progress.jsonl", "settings.json", "checkpoints", "guide"
COMPLETE = "complete"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder; ``writes`` is False in all processes of a distributed run but the first."""

    path: Path
    writes: bool = True

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / CHECKPOINTS

    @property
    def guide(self) -> Path:
        """Where the finished guide is."""
        return self.path / GUIDE

    @contextmanager
    def begun(self, settings: dict[str, Any], *, resume: bool) -> Iterator[bool]:
        """Make the folder, or check that the one that is there can go on, and keep other processes out of it.

        Yields whether nothing is left to do but to say ``finished``: a kill came between the guide and the word.

        Raises:
            SettingsError: another process works in the folder, it is there and ``resume`` is not asked for, the guide
                is finished, or the run in it had other settings or data.
        """
        if not self.writes:  # the first process looks; a reason to stop ends all of them
            yield resume and self.guide.exists()
            return
        file = self.path / SETTINGS
        if not file.exists() and self.path.exists() and any(path.name != LOCK for path in self.path.iterdir()):
            raise SettingsError(f"{self.path} is not empty and no run.", hint="Give another --out.")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / LOCK, blocking=False).acquire()
        except Timeout as error:
            raise SettingsError(
                f"Another process works in {self.path}.", hint="Wait until it has ended, or give another --out."
            ) from error
        with lock:
            if self.guide.exists() and not (resume and self._is_untold()):
                raise SettingsError(f"The guide in {self.guide} is finished.", hint="Give another --out.")
            if file.exists():
                if not resume:
                    raise SettingsError(
                        f"There is a run in {self.path} already.",
                        hint="Go on with it by --resume, or give another --out.",
                    )
                self._check_same(json.loads(file.read_text(encoding="utf-8")), settings)
            write_whole(file, json.dumps(settings, indent=2) + "\n")
            yield self.guide.exists()

    def _is_untold(self) -> bool:
        """Whether the guide is a run's own, which appears with its card, and the progress does not know of it."""
        return (self.guide / CARD_NAME).exists() and all(
            each["event"] != "finished" for each in read_progress(self.path)
        )

    def _check_same(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            name = changed[0]
            raise SettingsError(
                f"The run in {self.path} had another {name}: {before.get(name)!r}, now {now.get(name)!r}.",
                hint="A run goes on with what it began with; give another --out for a new one.",
            )

    def say(self, event: str, **values: Any) -> None:
        """Append one event to the progress; ``at`` is in seconds since 1970."""
        if self.writes:
            line = json.dumps({"event": event, "at": round(time.time(), 3), **values})
            _append(self.path / PROGRESS, line.encode() + b"\n")

    @contextmanager
    def last_word(self) -> Iterator[None]:
        """Say that the run in here was cancelled or has failed, where it was or has, and pass the reason on."""
        try:
            yield
        except Cancelled:
            self.say("cancelled")
            raise
        except TillerError as error:
            self.say("failed", message=error.message, hint=error.hint)
            raise
        except BaseException:
            self.say("failed", message="The program failed.", hint="Its error output says where.")
            raise

    def newest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint; those that a kill left half-written are removed."""
        if not self.checkpoints.is_dir():
            return None
        found = sorted(self.checkpoints.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
        for folder in found:
            if self.writes and not (folder / COMPLETE).exists():
                shutil.rmtree(folder)
        complete = [folder for folder in found if (folder / COMPLETE).exists()]
        return complete[-1] if complete else None


def read_progress(folder: Path) -> list[dict[str, Any]]:
    """Return the events of the run in ``folder`` so far; a last line without its end is not yet there.

    Raises:
        ValueError: another line is no event.
    """
    file = folder / PROGRESS
    lines = file.read_text(encoding="utf-8").split("\n") if file.exists() else []
    return [json.loads(line) for line in lines[:-1]]


def _append(file: Path, line: bytes) -> None:
    """Append a line; what a kill has left of the one before is cut off, for the two would stay glued together."""
    with file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read() != b"\n":
                stream.truncate(file.read_bytes().rfind(b"\n") + 1)
        stream.write(line)
