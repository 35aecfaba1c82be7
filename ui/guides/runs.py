"""A retraining on disk: what was asked, its data, its training, the version made of it, and how that compares.

<home>/training/<time>-<number>/
    asked.json        what was asked for, the version that answered then, and what the studies said of publishing
    data/             the judgements it is trained on
    run/              the training's own folder, see docs/training.md
    arguments.txt     the training's command line, for going on
    process.json      the process at work, found again by its id and time of birth
    log.txt           what the processes said
    version.json      the version that was made of the guide, and whether it was published by itself
    assessment.json   new against old
    .lock             held by the server that sees it through
"""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock

from models.files import LOCK, write_whole
from models.training.run_folder import GUIDE, read_progress
from ui.guides import processes
from ui.guides.asking import Ask, ask_from
from ui.guides.gate import Decision, Gate, decision_from, gate_from

FOLDER = "training"
_TAIL_BYTES = 20_000


class Stage(StrEnum):
    """What becomes of a retraining now; KILLED: its process is gone and did not say why."""

    TRAINING = "training"
    COMPARING = "comparing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"


UNDER_WAY = (Stage.TRAINING, Stage.COMPARING)
CAN_GO_ON = (Stage.CANCELLED, Stage.KILLED)


@dataclass(frozen=True)
class RetrainFolder:
    """The folder of a retraining."""

    path: Path

    @property
    def data(self) -> Path:
        """The judgements."""
        return self.path / "data"

    @property
    def run(self) -> Path:
        """The training's folder."""
        return self.path / "run"

    @property
    def guide(self) -> Path:
        """The guide, once it is there."""
        return self.run / GUIDE

    @property
    def record(self) -> Path:
        """The process at work."""
        return self.path / "process.json"

    @property
    def log(self) -> Path:
        """What the processes said."""
        return self.path / "log.txt"

    @property
    def assessment(self) -> Path:
        """New against old."""
        return self.path / "assessment.json"

    @property
    def ask(self) -> Ask:
        """What was asked for."""
        return ask_from(self._json("asked.json")["ask"])

    @property
    def old(self) -> int | None:
        """The version that answered when it was asked; None where none did."""
        found = self._json("asked.json")["old"]
        return None if found is None else int(found)

    @property
    def version(self) -> int | None:
        """The version that was made of the guide."""
        found = self._json("version.json").get("version")
        return None if found is None else int(found)

    @property
    def failure(self) -> str:
        """Why the guide could not be made a version, or published; empty where nothing failed."""
        return str(self._json("version.json").get("failure", ""))

    @property
    def gate(self) -> Gate:
        """What the studies that judgements were taken from said of publishing when it was asked."""
        return gate_from(self._json("asked.json").get("studies", []))

    @property
    def decision(self) -> Decision | None:
        """Whether it was published without anybody's word; None where that was not decided, or not asked for."""
        found = self._json("version.json").get("decision")
        return None if found is None else decision_from(found)

    @property
    def waits_for_decision(self) -> bool:
        """Whether it is to be published by itself where it is better, and that is still to be looked at."""
        return self.stage() is Stage.DONE and self.gate.is_asked_for and self.decision is None and not self.failure

    @property
    def assessed(self) -> dict[str, Any]:
        """New against old; empty until it is known."""
        return self._json("assessment.json")

    def ask_by(self, gate: Gate) -> None:
        """Add to what was asked what the studies say of publishing."""
        asked = {**self._json("asked.json"), "studies": gate.as_json()}
        write_whole(self.path / "asked.json", json.dumps(asked, indent=1))

    def watched(self, poll_seconds: float) -> FileLock:
        """What waits until no other server or thread sees this through, and keeps the others waiting."""
        return FileLock(self.path / LOCK, poll_interval=poll_seconds)

    def note(self, **facts: Any) -> None:
        """Add to what is known of the version, as the one that watches."""
        write_whole(self.path / "version.json", json.dumps({**self._json("version.json"), **facts}))

    def progress(self) -> list[dict[str, Any]]:
        """The training's events so far."""
        return read_progress(self.run)

    def stage(self) -> Stage:
        """What becomes of it now."""
        alive = processes.is_alive(self.record)
        events = self.progress()  # read after the process was looked for, whose last word is then there
        last = next((each["event"] for each in reversed(events) if each["event"] in _LAST_WORDS), "")
        if events and events[-1]["event"] != last:
            last = ""  # it went on since
        if last == "finished":
            is_over = bool(self.assessed or self.failure)
            return Stage.DONE if is_over else Stage.COMPARING
        if alive:
            return Stage.TRAINING
        return {"failed": Stage.FAILED, "cancelled": Stage.CANCELLED}.get(last, Stage.KILLED)

    def log_tail(self, n_lines: int) -> str:
        """The end of what the processes said."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line.rpartition("\r")[2] for line in text.splitlines()]
        return "\n".join(lines[-n_lines:])

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        assert isinstance(found, dict)
        return found


_LAST_WORDS = ("finished", "failed", "cancelled")


def make_folder(home: Path, ask: Ask, old: int | None) -> RetrainFolder:
    """Make the folder of a new retraining."""
    now = datetime.now(UTC)
    folder = RetrainFolder(home / FOLDER / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
    folder.path.mkdir(parents=True, mode=0o700)
    asked = {"ask": ask.as_json(), "old": old, "at": now.isoformat(timespec="seconds")}
    write_whole(folder.path / "asked.json", json.dumps(asked, indent=1))
    return folder


def folders(home: Path) -> list[RetrainFolder]:
    """Every retraining, the newest first."""
    root = home / FOLDER
    found = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
    return [RetrainFolder(path) for path in found if (path / "asked.json").is_file()]
