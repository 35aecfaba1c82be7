"""What the Results page does, without Gradio: filters, figures that are remembered until somebody judges, exports."""

import json
import math
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import numpy as np

from steering.errors import InputError
from storage.analysis.annotators import AnnotatorFigures, annotator_figures
from storage.analysis.columns import JudgementColumns, columns_of
from storage.analysis.intervals import Missing
from storage.analysis.preference import Preference, fit_preference
from storage.analysis.ratings import RatingPlan
from storage.analysis.summary import Counts, DimensionResults, count, summarise_dimension
from storage.exchange.export import ExportPlan, FileKind, Manifest, export_judgements
from storage.exchange.formats import Format
from storage.exchange.selection import Selection
from storage.records import OVERALL
from storage.records_pairs import AnnotatorCount, PairFilter
from storage.records_studies import StudySummary
from storage.study_repository import ResultsRepository, StudyRepository
from ui import wording_results as wording

N_REMEMBERED = 8
STEER = "steer"
"""What the page calls the judgements of the Steer page, which are of no study, among the studies' ids."""
MAX_BLEND_CHARS = 2000
_Counts = tuple[AnnotatorCount, ...]


@dataclass(frozen=True)
class Query:
    """Which judgements are looked at, and how.

    ``min_reliability`` is the least share of gold answers an annotator got right, those that the filters leave out
    included (``JudgedPair.reliability``). ``by_strength`` lets a slight preference count less than a clear one.
    """

    wanted: PairFilter
    min_reliability: float = 0.0
    by_strength: bool = False


@dataclass(frozen=True)
class Export:
    """A written export: the .zip file and what became of every judgement."""

    path: Path
    manifest: Manifest


class Findings:
    """The figures of one query, each worked out when it is first asked for. Safe in threads."""

    def __init__(self, columns: JudgementColumns, names: dict[str, str], n_left_out: int, plan: RatingPlan) -> None:
        self.names = names
        self.n_left_out = n_left_out
        self.plan = plan
        self.counts: Counts = count(columns)
        present = [columns.names.dimensions[code] for code in np.unique(columns.dimension)]
        self.dimensions = tuple(sorted(present, key=lambda name: (name != OVERALL, name)))
        self.annotators: tuple[AnnotatorFigures, ...] = annotator_figures(columns)
        self._columns = columns
        self._by_dimension: dict[str, DimensionResults] = {}
        self._together: Preference | Missing | None = None
        self._lock = threading.Lock()

    def dimension(self, name: str) -> DimensionResults:
        """Every figure of one of ``dimensions``, of which the overall one comes first."""
        with self._lock:
            if name not in self._by_dimension:
                self._by_dimension[name] = summarise_dimension(self._columns, name, self.plan)
            return self._by_dimension[name]

    def together(self) -> Preference | Missing:
        """What people want when the judgements of all dimensions count alike."""
        with self._lock:
            if self._together is None:
                self._together = fit_preference(self._columns, self.plan)
            return self._together


class ResultsActions:
    """The actions of the Results page; methods may be called from any thread.

    ``is_private`` says that only people who were let in see the page: else annotators are numbered instead of named,
    and nothing is exported. Without an access code a page is private only to this machine: see ``ui.privacy``.
    """

    def __init__(
        self, results: ResultsRepository, studies: StudyRepository, *, is_private: bool, has_code: bool = False
    ) -> None:
        self.is_private, self.has_code = is_private, has_code
        self._results = results
        self._studies = studies
        self._remembered: OrderedDict[tuple[Query, bool, _Counts, _Counts], Findings] = OrderedDict()
        self._lock = threading.Lock()

    def studies(self) -> tuple[StudySummary, ...]:
        """Every study, newest first.

        Raises:
            StorageError: the database cannot be read.
        """
        return self._studies.studies()

    def groups(self, study_id: str | None) -> tuple[str, ...]:
        """The groups of those who judged a study, on the Steer page, or any study.

        Raises:
            StorageError: the database cannot be read.
        """
        return tuple(sorted({one.group for one in self._results.annotator_counts(_of(study_id))}))

    def n_on_steer(self) -> int:
        """How many judgements were made on the Steer page.

        Raises:
            StorageError: the database cannot be read.
        """
        return sum(one.n_judgements for one in self._results.annotator_counts(_of(STEER)))

    def find(self, query: Query, *, named: bool = True) -> Findings:
        """The figures of a query. They are kept, and read anew once somebody judged, took back or was deleted.

        Annotators have their names where the page is private and ``named`` says that who asks may see them.

        Raises:
            StorageError: the database cannot be read.
        """
        counts = self._results.annotator_counts(query.wanted)
        # who is reliable also depends on gold answers that the filters leave out
        of_all = self._results.annotator_counts(query.wanted.whole) if query.min_reliability else ()
        key = (query, named, counts, of_all)
        with self._lock:  # so that two who ask at once wait for one reading
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
            columns = columns_of(self._results.pairs(query.wanted, with_texts=False))
            reliable = _of_the_reliable(columns, query.min_reliability)
            n_left_out, plan = len(columns) - len(reliable), RatingPlan(by_strength=query.by_strength)
            findings = Findings(reliable, self._names(counts, columns, named=named), n_left_out, plan)
            for old in [known for known in self._remembered if known[:2] == key[:2]]:
                del self._remembered[old]
            self._remembered[key] = findings
            if len(self._remembered) > N_REMEMBERED:
                self._remembered.popitem(last=False)
            return findings

    def export(self, query: Query, plan: ExportPlan, folder: Path) -> Export:
        """Write the judgements of a query as one .zip file of a fresh name below ``folder``.

        Raises:
            InputError: the page is not private.
            StorageError: the database cannot be read, or the file not written; nothing is left behind.
        """
        if not self.is_private:
            raise InputError(wording.EXPORT_REFUSED, hint=wording.EXPORT_REFUSED_HINT)
        name = f"tiller-{plan.format.value}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        with tempfile.TemporaryDirectory(prefix="tiller-export-") as working:
            manifest = export_judgements(self._results.pairs(query.wanted), plan, Path(working) / name)
            target = folder / secrets.token_hex(16) / name
            target.parent.mkdir(parents=True, mode=0o700)
            path = Path(shutil.make_archive(str(target), "zip", working, name))
        return Export(path, manifest)

    def _names(self, counts: tuple[AnnotatorCount, ...], columns: JudgementColumns, *, named: bool) -> dict[str, str]:
        """What each annotator is called: their own name where the page is private and ``named``, else a number."""
        busiest = sorted(counts, key=lambda one: (-one.n_judgements, one.annotator_id))
        names: dict[str, str] = {}
        for one in busiest:
            own = one.display_name if self.is_private and named else ""
            names.setdefault(one.annotator_id, own or wording.ANNOTATOR.format(number=len(names) + 1))
        for annotator_id in columns.names.annotators:  # somebody may have begun since the counts were read
            names.setdefault(annotator_id, wording.ANNOTATOR.format(number=len(names) + 1))
        return names


def _of_the_reliable(columns: JudgementColumns, least: float) -> JudgementColumns:
    return columns if least <= 0 else columns.where((columns.names.reliability >= least)[columns.annotator])


def query_of(
    study_id: object, days: tuple[object, object], group: object, percent: object, by_strength: object = False
) -> Query:
    """The query of the page's filters as they come from a browser; None means all, ``STEER`` the Steer page.

    ``days`` are the first and the last one, both included; ``percent`` of gold answers must be right.

    Raises:
        InputError: a filter holds what the page does not offer.
    """
    if not (study_id is None or isinstance(study_id, str)) or not (group is None or isinstance(group, str)):
        raise InputError(wording.BAD_FILTER, hint=wording.BAD_FILTER_HINT)
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        raise InputError(wording.BAD_FILTER, hint=wording.BAD_FILTER_HINT)
    if not isinstance(by_strength, bool):
        raise InputError(wording.BAD_FILTER, hint=wording.BAD_FILTER_HINT)
    since, last = _day(days[0]), _day(days[1])
    if since is not None and last is not None and since > last:
        raise InputError(wording.BAD_DAYS, hint=wording.BAD_DAYS_HINT)
    until = None if last is None else last + timedelta(days=1)
    groups = None if group is None else (group,)
    return Query(replace(_of(study_id), groups=groups, since=since, until=until), percent / 100, by_strength)


def _of(study_id: str | None) -> PairFilter:
    if study_id == STEER:
        return PairFilter(study_ids=(), include_steer=True)
    return PairFilter(study_ids=(study_id,) if study_id else None)


def _day(text: object) -> datetime | None:
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    try:
        day = datetime.strptime(str(text).strip(), "%Y-%m-%d").replace(tzinfo=UTC)
        day + timedelta(days=1)  # the last of all days has no day after it
    except (ValueError, OverflowError) as error:
        raise InputError(wording.BAD_DAY.format(text=str(text)[:30]), hint=wording.BAD_DAY_HINT) from error
    return day


def plan_of(format_: object, file_kind: object, percent: object, query: Query) -> ExportPlan:
    """The export that the page asks for.

    Raises:
        InputError: it is none that there is.
    """
    try:
        share = float(str(percent)) / 100
        selection = Selection(min_reliability=query.min_reliability or None, test_share=share)
        return ExportPlan(Format(str(format_)), FileKind(str(file_kind)), selection)
    except ValueError as error:
        raise InputError(wording.BAD_FILTER, hint=wording.BAD_FILTER_HINT) from error


def blend_link(found: Preference | Missing) -> str | None:
    """Where the Steer page opens with the preferred blend, relative to the Results page; None without a blend."""
    if isinstance(found, Missing):
        return None
    weights = {axis: round(estimate.value, 2) for axis, estimate in found.preferred.items()}
    return "./?blend=" + quote(json.dumps(weights, separators=(",", ":")))


def blend_from(text: str) -> dict[str, float]:
    """The weights a link names.

    Raises:
        InputError: the link does not name weights.
    """
    try:
        weights = json.loads(text) if len(text) <= MAX_BLEND_CHARS else None
    except (ValueError, RecursionError):
        weights = None
    if not isinstance(weights, dict) or not all(_is_weight(weight) for weight in weights.values()):
        raise InputError(wording.BAD_LINK, hint=wording.BAD_FILTER_HINT)
    return {str(name): float(weight) for name, weight in weights.items()}


def _is_weight(weight: object) -> bool:
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    return is_number and math.isfinite(weight) and abs(weight) <= 100  # type: ignore[arg-type]
