"""What a retraining is asked for: which judgements, which rules against rigged ones, and what is to be made."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from models.training.data import DataSettings
from steering.errors import InputError
from storage.records import MAX_LABEL_CHARS, OVERALL
from storage.records_pairs import PairFilter
from ui import wording_guides as wording
from ui.results.actions import query_of

MIN_PAIRS_PER_STEP, MAX_PAIRS_PER_STEP = 4, 16
STEPS = 60
MAX_EPOCHS = 8


@dataclass(frozen=True)
class Ask:
    """A retraining as it is asked for; shares are from 0 to 1, days are ``YYYY-MM-DD`` or empty, a cap of 0 is none.

    ``question`` is the dimension that was judged, ``dimension`` the guide's. ``study_id`` is as on the Results page.
    ``without`` are annotators who are left out. ``further``: from the active version on, instead of afresh.

    Raises:
        InputError: a field is outside what is allowed; the message names it.
    """

    question: str
    dimension: str
    study_id: str = ""
    without: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    min_agreement: float = 0.0
    min_reliability: float = 0.0
    max_per_annotator: int = 0
    max_per_prompt: int = 6
    held_out_share: float = 0.2
    further: bool = False

    def __post_init__(self) -> None:
        if not self.question:
            raise InputError(wording.NO_QUESTION, hint=wording.NO_QUESTION_HINT)
        name = self.dimension
        if not name.strip() or name == OVERALL or "=" in name or len(name) > MAX_LABEL_CHARS or not name.isprintable():
            raise InputError(wording.BAD_DIMENSION.format(name=name[:30]), hint=wording.BAD_DIMENSION_HINT)
        self.wanted()
        self.rules()

    def wanted(self) -> PairFilter:
        """The judgements that are meant; ``without`` is not in it.

        Raises:
            InputError: a day is none, or the first is after the last.
        """
        query = query_of(self.study_id or None, (self.since, self.until), None, 0)
        return replace(query.wanted, dimensions=(self.question,))

    def rules(self) -> DataSettings:
        """The rules of the training's data.

        Raises:
            InputError: one is outside its range.
        """
        if not 0 < self.held_out_share <= MAX_HELD_OUT_SHARE:
            raise InputError(wording.BAD_HELD_OUT, hint=wording.BAD_HELD_OUT_HINT)
        return DataSettings(
            min_reliability=self.min_reliability,
            max_per_annotator=self.max_per_annotator,
            max_per_prompt=self.max_per_prompt,
            held_out_share=self.held_out_share,
        )

    def as_json(self) -> dict[str, Any]:
        """As plain values, for :func:`ask_from`."""
        return asdict(self)


MAX_HELD_OUT_SHARE = 0.5


def ask_from(values: Mapping[str, Any]) -> Ask:
    """The ask that :meth:`Ask.as_json` wrote; an earlier version's may have more in it."""
    known = {name: values[name] for name in (field.name for field in fields(Ask)) if name in values}
    return Ask(**{**known, "without": tuple(values["without"])})


def ask_of(values: Mapping[str, Any]) -> Ask:
    """The ask of the page's form, as its fields come from a browser.

    Raises:
        InputError: a field holds what the page does not offer.
    """
    try:
        return Ask(
            question=_text(values["question"]),
            dimension=_text(values["dimension"]).strip().lower() or _text(values["question"]),
            study_id=_text(values["study"]),
            without=tuple(_text(one) for one in values["without"] or ()),
            since=_text(values["since"]),
            until=_text(values["until"]),
            min_agreement=_number(values["agreement"], 100) / 100,
            min_reliability=_number(values["reliability"], 100) / 100,
            max_per_annotator=round(_number(values["annotator_cap"], 10**6)),
            max_per_prompt=round(_number(values["prompt_cap"], 10**6)),
            held_out_share=_number(values["held_out"], 100) / 100,
            further=values["further"] is True,
        )
    except (TypeError, KeyError) as error:
        raise InputError(wording.BAD_REQUEST, hint=wording.BAD_REQUEST_HINT) from error


def pace_of(n_train: int) -> tuple[int, float]:
    """Pairs per step, and passes over the data, for so many pairs: few pairs are seen often, in small steps."""
    batch = min(MAX_PAIRS_PER_STEP, max(MIN_PAIRS_PER_STEP, n_train // 24))
    return batch, float(min(MAX_EPOCHS, max(1, round(STEPS * batch / max(1, n_train)))))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: object, most: float) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise TypeError("not a number that is offered")
    return float(value)
