"""Writing studies' answers in the background: one study at a time, whoever looks on, until it is done or stopped."""

import atexit
import logging
import threading
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field

from steering.errors import BusyError, TillerError
from storage.study_repository import StudyRepository
from ui import wording
from ui.runs import SteerEngine
from ui.studies import GeneratingProgress, generate_answers

CLOSING_SECONDS = 30.0
BUSY_SECONDS = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """What is being written now, what waits for its turn, and why others ended before they were done, by study id.

    ``progress`` is None until the study under way has told its first.
    """

    study_id: str | None = None
    progress: GeneratingProgress | None = None
    waiting: tuple[str, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)


class Writer:
    """Writes the answers of the studies it is given on a thread that exists while there is work. Safe in threads.

    What is written is stored prompt by prompt, so nothing is lost when the server stops; nothing begins by itself after
    that. A study's requests are its own towards the engine, where visitors and it take turns.
    """

    def __init__(self, engine: SteerEngine, studies: StudyRepository) -> None:
        self._engine = engine
        self._studies = studies
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, str]] = deque()
        self._study_id: str | None = None
        self._progress: GeneratingProgress | None = None
        self._failures: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def written(self) -> Written:
        """How things stand."""
        with self._lock:
            waiting = tuple(study_id for study_id, _ in self._waiting)
            return Written(self._study_id, self._progress, waiting, dict(self._failures))

    def start(self, study_id: str, actor: str) -> None:
        """Write a study's missing answers as soon as those before it are done; again changes nothing."""
        with self._lock:
            if study_id == self._study_id or study_id in [waiting for waiting, _ in self._waiting]:
                return
            self._failures.pop(study_id, None)
            self._waiting.append((study_id, actor))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="study writer", daemon=True)
                self._thread.start()
                atexit.register(self.close)

    def stop(self, study_id: str) -> None:
        """Stop writing a study within a step, or take it out of the line; what is stored of it stays."""
        with self._lock:
            self._waiting = deque(entry for entry in self._waiting if entry[0] != study_id)
            if study_id == self._study_id:
                self._stopping.set()

    def close(self) -> None:
        """Stop everything and wait for it: a thread must not compute while Python ends."""
        with self._lock:
            self._waiting.clear()
            self._stopping.set()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=CLOSING_SECONDS)

    def _work(self) -> None:
        while taken := self._take():
            study_id, actor = taken
            failure = self._write(study_id, actor)
            with self._lock:
                if failure:
                    self._failures[study_id] = failure

    def _take(self) -> tuple[str, str] | None:
        """The next study and who wants it; None when there is no work, and with it no thread."""
        with self._lock:
            self._study_id = self._progress = None
            self._stopping.clear()
            if not self._waiting:
                self._thread = None
                atexit.unregister(self.close)
                return None
            study_id, actor = self._waiting.popleft()
            self._study_id = study_id
            return study_id, actor

    def _write(self, study_id: str, actor: str) -> str:
        """Write until all is there or it is stopped; in words why it ended otherwise."""
        while not self._stopping.is_set():
            try:
                self._go_on(study_id, actor)
            except BusyError:  # visitors have filled the line; the study has time
                self._stopping.wait(BUSY_SECONDS)
            except TillerError as error:
                logger.warning("the answers of study %s are not written: %s", study_id, error)
                return str(error)
            except Exception:
                logger.exception("the answers of study %s are not written", study_id)
                return f"{wording.UNEXPECTED} {wording.UNEXPECTED_HINT}"
            else:
                break
        return ""

    def _go_on(self, study_id: str, actor: str) -> None:
        with closing(generate_answers(self._engine, self._studies, study_id, actor)) as reports:
            for report in reports:
                with self._lock:
                    self._progress = report
                if self._stopping.is_set():
                    return
