"""What the page sends for one item, read with suspicion: it comes from a browser and may be anything."""

import json
import re
from dataclasses import dataclass
from typing import Any

from steering.errors import InputError
from steering.types import Choice
from storage.records import Strength
from storage.records_studies import Answer
from ui import wording_judge as wording
from ui.judge.pace import Pace, read_pace

MAX_PAYLOAD_CHARS = 200_000
_KEY = re.compile(r"[0-9a-f]{32}")
_HANDLE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sent:
    """One item's answers in the order of the study's questions; ``key`` names the click, so that a repeat is one.

    ``handle`` is what the page calls the item; see `ui.judge.item_handles`.
    """

    handle: str
    key: str
    answers: tuple[tuple[Choice, Strength | None, str], ...]

    def to_answers(self, item_id: str, annotator_id: str, dimensions: tuple[str, ...]) -> list[Answer]:
        """One answer per dimension of the study, each under a client key of its own.

        Raises:
            InputError: there is not one answer per dimension, or one cannot be stored.
        """
        if len(self.answers) != len(dimensions):
            raise unreadable(f"{len(self.answers)} answers to {len(dimensions)} questions")
        return [
            Answer(item_id, annotator_id, dimension, choice, f"{self.key}-{number}", strength, reason)
            for number, (dimension, (choice, strength, reason)) in enumerate(zip(dimensions, self.answers, strict=True))
        ]


@dataclass(frozen=True)
class Request:
    """A save: the page's token, who saves, the text that `read` takes, and the pace the page tells of."""

    token: object
    study_id: object
    name: object
    sent: object
    pace: Pace


def read_request(body: bytes | None) -> Request:
    """Read the body of a save; None is one that was too long.

    Raises:
        InputError: it is not what the page sends.
    """
    try:
        asked = json.loads(body or b"")
        return Request(asked["token"], asked["study"], asked["name"], asked["sent"], read_pace(asked.get("pace")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(type(error).__name__) from error


def read(text: object) -> Sent:
    """Read the page's JSON.

    Raises:
        InputError: it is not what the page sends.
    """
    if not isinstance(text, str) or len(text) > MAX_PAYLOAD_CHARS:
        raise unreadable("it is no text, or too long")
    try:
        sent = json.loads(text)
        handle, key, answers = sent["item"], sent["key"], tuple(map(_answer, sent["answers"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise unreadable(type(error).__name__) from error
    if not (isinstance(handle, str) and _HANDLE.fullmatch(handle) and isinstance(key, str) and _KEY.fullmatch(key)):
        raise unreadable("it names no item")
    return Sent(handle, key, answers)


def _answer(given: dict[str, Any]) -> tuple[Choice, Strength | None, str]:
    choice, strength, reason = Choice(given["choice"]), given.get("strength"), given.get("reason", "")
    if not isinstance(reason, str):
        raise TypeError(reason)
    # A strength chosen before the mind changed to a tie says nothing any more.
    has_side = choice in (Choice.LEFT, Choice.RIGHT)
    return choice, Strength(strength) if strength and has_side else None, reason.strip()


def unreadable(reason: str) -> InputError:
    """The error for what the page sent and nobody can store."""
    return InputError(wording.BAD_ANSWERS.format(reason=reason), hint=wording.BAD_ANSWERS_HINT)
