"""Retraining in the background: one at a time, in processes that go on when the page, or the server, is gone."""

import logging
import shutil
import subprocess
import threading
import time
from contextlib import suppress

from models.guides import check_hash, read_card
from models.loading import fetch
from models.presets import load_preset
from models.training.run_folder import SETTINGS
from models.versions.publishing import GuideVersions
from models.versions.registry import Version
from steering.errors import BusyError, InputError, StorageError, TillerError
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording
from ui import wording_guides as words
from ui.guides import processes
from ui.guides.asking import Ask, pace_of
from ui.guides.gate import UNKNOWN, Decision, Gate, decide, gate_of, studies_in, studies_meant
from ui.guides.runs import CAN_GO_ON, UNDER_WAY, RetrainFolder, Stage, folders, make_folder
from ui.guides.usable import usable
from ui.guides.verdict import verdict_of
from ui.settings import Settings

POLL_SECONDS = 0.5
AGAIN_SECONDS = 5.0
N_CALIBRATION_PROMPTS = 16

logger = logging.getLogger(__name__)


class _RefusedError(Exception):
    """A version is not published by itself."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(str(decision.refusal))
        self.decision = decision


class Retrainer:
    """Begins retrainings, makes versions of what they bring forth, and compares these. Safe in threads.

    What is under way when this is made, because a server before it began it, is taken up.

    Args:
        versions: the versions of the guides that answer.
        studies: what says whether a better guide is published by itself.
        results: where the judgements are.
        settings: where the files are, and which base model.
    """

    def __init__(
        self, versions: GuideVersions, studies: StudyRepository, results: ResultsRepository, settings: Settings
    ) -> None:
        self._versions, self._studies, self._results, self._settings = versions, studies, results, settings
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._compared: set[str] = set()  # tried here, so that what fails is not tried for ever
        newest = self.newest()
        if newest is not None and (newest.stage() in UNDER_WAY or newest.waits_for_decision):
            self._watch(newest)

    def newest(self) -> RetrainFolder | None:
        """The newest retraining."""
        return next(iter(folders(self._settings.home)), None)

    def all(self) -> list[RetrainFolder]:
        """Every retraining, the newest first."""
        return folders(self._settings.home)

    def gate(self, ask: Ask) -> Gate:
        """What the studies say of publishing that a training would take judgements from now.

        Raises:
            StorageError: the database cannot be read.
        """
        parent = self._versions.active(ask.dimension) if ask.further else None
        return gate_of(self._studies, self._studies_behind(ask, parent))

    def start(self, ask: Ask) -> RetrainFolder:
        """Write the data and begin to train.

        Raises:
            BusyError: another retraining is under way, or whether it is published is still being decided.
            InputError: there is nothing to train or to test on, or nothing to train further.
            StorageError: the database cannot be read, or the data not be written.
            LoadError: the base model cannot be had.
        """
        with self._lock:
            self._check_free()
            active = self._versions.active(ask.dimension)
            parent = active.folder if active is not None and ask.further else None
            if ask.further and (parent is None or not (parent / "adapter_config.json").is_file()):
                raise InputError(words.NO_PARENT.format(dimension=ask.dimension), hint=words.NO_PARENT_HINT)
            folder = make_folder(self._settings.home, ask, None if active is None else active.number)
            try:
                found = usable(self._results, ask, folder.data)
                arguments = self._arguments(folder, ask, found.report.n_train)
                if parent is not None and active is not None:
                    trained = self._trained(active)
                    replay = ["--replay", str(trained.data)] if trained is not None and trained.data.is_dir() else []
                    arguments += ["--parent", str(parent), *replay]
                # also those of which no judgement was left, so that what the page said before holds
                sources = self._studies_behind(ask, active if ask.further else None) | studies_in(folder.data)
                folder.ask_by(gate_of(self._studies, sources))
                (folder.path / "arguments.txt").write_text("\0".join(arguments), encoding="utf-8")
                self._processes.append(processes.begin(arguments, folder.record, folder.log))
            except BaseException:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
            self._watch(folder)
            return folder

    def go_on(self) -> RetrainFolder:
        """Go on with the newest retraining, which was cancelled or killed.

        Raises:
            InputError: there is none that can go on.
        """
        with self._lock:
            newest = self.newest()
            if newest is None or newest.stage() not in CAN_GO_ON:
                raise InputError(words.NOTHING_TO_GO_ON, hint=words.NOTHING_TO_GO_ON_HINT)
            arguments = (newest.path / "arguments.txt").read_text(encoding="utf-8").split("\0")
            # killed before it had begun, it begins now
            resume = ["--resume"] if (newest.run / SETTINGS).exists() else []
            self._processes.append(processes.begin([*arguments, *resume], newest.record, newest.log))
            self._watch(newest)
            return newest

    def cancel(self) -> None:
        """Have the training under way end as soon as its step is done; it can go on later."""
        newest = self.newest()
        if newest is not None and newest.stage() is Stage.TRAINING:
            processes.cancel(newest.record)

    def _check_free(self) -> None:
        newest = self.newest()
        if newest is not None and newest.stage() in UNDER_WAY:
            raise BusyError(words.BUSY, hint=words.BUSY_HINT)
        if newest is not None and newest.waits_for_decision:  # which is looked for in the newest one only
            raise BusyError(words.BUSY_DECIDING, hint=words.BUSY_DECIDING_HINT)

    def _arguments(self, folder: RetrainFolder, ask: Ask, n_train: int) -> list[str]:
        preset = load_preset(self._settings.preset, self._settings.config)
        batch, epochs = pace_of(n_train)
        template = folder.path / "chat_template.jinja"
        if preset.chat_template is not None:
            template.write_text(preset.chat_template, encoding="utf-8")
        options = {
            "--base": fetch(preset.base),
            "--base-id": preset.base.label,
            "--data": folder.data,
            "--dimension": ask.dimension,
            "--out": folder.run,
            "--min-reliability": ask.min_reliability,
            "--max-per-annotator": ask.max_per_annotator,
            "--max-per-prompt": ask.max_per_prompt,
            "--held-out-share": ask.held_out_share,
            "--batch-size": batch,
            "--epochs": epochs,
            "--patience": 0,  # held-out pairs are few, and half of them would only choose when to end
            "--n-prompts": N_CALIBRATION_PROMPTS,
        }
        given = [text for name, value in options.items() for text in (name, str(value))]
        more = ["--chat-template", str(template)] if preset.chat_template is not None else []
        return ["-m", "models.training.train", *given, *more]

    def _trained(self, version: Version) -> RetrainFolder | None:
        """The retraining that a version was made by, where that was done here and its folder is still there."""
        for folder in self.all():
            if folder.version == version.number and folder.ask.dimension == version.dimension:
                return folder
        return None

    def _studies_behind(self, ask: Ask, parent: Version | None) -> set[str]:
        """The studies that have to ask for publishing: those meant, and those behind a version trained further."""
        found = studies_meant(self._results, ask)
        if parent is None or parent.is_built_in:
            return found
        trained = self._trained(parent)
        if trained is not None and trained.gate.said:  # which has in it what the versions before it were trained on
            return found | {one.study_id for one in trained.gate.said} | studies_in(trained.data)
        return found | ({UNKNOWN} if parent.card.data_ids else set())

    def _watch(self, folder: RetrainFolder) -> None:
        threading.Thread(target=self._work, args=(folder,), name="retraining", daemon=True).start()

    def _work(self, folder: RetrainFolder) -> None:
        try:
            with folder.watched(POLL_SECONDS):
                self._see_through(folder)
        except OSError:
            logger.exception("the retraining in %s is seen through by nobody here", folder.path.name)
        finally:
            for process in tuple(self._processes):
                process.wait()  # it has done its work and is about to end
            self._reap()

    def _see_through(self, folder: RetrainFolder) -> None:
        try:
            while folder.stage() in UNDER_WAY and self._take_further(folder):
                time.sleep(POLL_SECONDS)
            while folder.waits_for_decision and not self._is_settled(folder):
                time.sleep(AGAIN_SECONDS)
        except TillerError as error:
            logger.warning("the retraining in %s ended: %s", folder.path.name, error)
            folder.note(failure=str(error))
        except Exception:
            logger.exception("the retraining in %s ended", folder.path.name)
            with suppress(OSError):
                folder.note(failure=f"{wording.UNEXPECTED} {wording.UNEXPECTED_HINT}")

    def _take_further(self, folder: RetrainFolder) -> bool:
        """Do what comes next; False where nothing is left to do."""
        self._reap()
        if processes.is_alive(folder.record) or folder.stage() is not Stage.COMPARING:
            return True
        if folder.version is None:
            folder.note(version=self._add(folder))
        if folder.path.name in self._compared:
            folder.note(failure=words.NOT_COMPARED)
            return False
        if not folder.assessed:
            self._compared.add(folder.path.name)
            self._processes.append(processes.begin(self._assessing(folder), folder.record, folder.log))
        return True

    def _add(self, folder: RetrainFolder) -> int:
        """Make a version of the guide, unless that was done when something ended this."""
        dimension, sha256 = folder.ask.dimension, check_hash(folder.guide)
        made_at = read_card(folder.guide).created_at
        for version in self._versions.versions(dimension):
            if version.card.hash == sha256 and version.card.created_at == made_at:
                return version.number
        return self._versions.add(str(folder.guide), dimension).number

    def _is_settled(self, folder: RetrainFolder) -> bool:
        """Decide on publishing; False where the database cannot be read now, which passes."""
        try:
            self._publish_if_better(folder)
        except StorageError as error:
            logger.warning("whether %s is published is decided later: %s", folder.path.name, error)
            return False
        return True

    def _publish_if_better(self, folder: RetrainFolder) -> None:
        """Publish the new version if every study still asks for that and the gate holds; note what was decided."""
        dimension, number = folder.ask.dimension, folder.version
        assert number is not None
        try:
            decision = self._decided(folder)
            if self._active_number(dimension) != number:
                # people publish, roll back and change their studies while this waits for its turn
                self._versions.publish(dimension, number, check=lambda: self._decided(folder))
        except _RefusedError as refused:
            decision = refused.decision
        folder.note(decision=decision.as_json())

    def _decided(self, folder: RetrainFolder) -> Decision:
        """What speaks for publishing now; raises _RefusedError where anything speaks against it."""
        dimension, number = folder.ask.dimension, folder.version
        assert number is not None
        card = self._versions.registry.version(dimension, number).card
        asked = folder.gate
        now = gate_of(self._studies, [one.study_id for one in asked.said])
        verdict = verdict_of(folder.assessed, card, min(asked.margin, now.margin))
        answers = self._active_number(dimension)
        was_published = any(each.version == number for each in self._versions.history(dimension))
        # its own number: it was published, and something ended this before that was noted
        decision = decide(
            now,
            verdict,
            is_superseded=answers not in (folder.old, number),
            is_taken_back=was_published and answers != number,
        )
        if decision.refusal is not None:
            raise _RefusedError(decision)
        return decision

    def _active_number(self, dimension: str) -> int | None:
        active = self._versions.active(dimension)
        return None if active is None else active.number

    def _assessing(self, folder: RetrainFolder) -> list[str]:
        settings = self._settings
        named = {"--config": settings.config, "--preset": settings.preset}
        base = [text for name, value in named.items() if value is not None for text in (name, str(value))]
        old = [] if folder.old is None else ["--old", str(folder.old)]
        files = ["--data", folder.data, "--guide", folder.guide, "--out", folder.assessment, "--home", settings.home]
        which = ["--dimension", folder.ask.dimension, "--new", str(folder.version), *old]
        return ["-m", "ui.guides.assess", *base, *which, *map(str, files)]

    def _reap(self) -> None:
        """Let go of processes that have ended; until then they would stay in the system's table."""
        self._processes = [process for process in self._processes if process.poll() is None]
