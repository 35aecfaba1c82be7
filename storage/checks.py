"""Refusals of numbers and times that records cannot hold."""

import math
import reprlib
from datetime import datetime, timedelta

from steering.errors import InputError


def check_whole(name: str, value: int, low: int, high: int) -> None:
    """Refuse what is not a whole number from ``low`` to ``high``.

    Raises:
        InputError: saying what was got and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(
            f"A {name} is {reprlib.repr(value)}; it must be a whole number from {low} to {high}.",
            hint=f"Correct the {name}.",
        )


def check_finite(name: str, value: float, *, low: float = -math.inf) -> None:
    """Refuse what is not a finite number of at least ``low``.

    Raises:
        InputError: saying what was got and what is allowed.
    """
    if not math.isfinite(value) or value < low:
        allowed = "a finite number" if low == -math.inf else f"a finite number, {low:g} or more"
        raise InputError(f"The {name} is {value!r}; it must be {allowed}.", hint=f"Correct the {name}.")


def check_not_nan(name: str, value: float) -> None:
    """Refuse a NaN.

    Raises:
        InputError: saying what was got and what is allowed.
    """
    if math.isnan(value):
        raise InputError(f"The {name} is not a number (NaN).", hint=f"Leave out a {name} that is not known.")


def check_time(value: datetime) -> None:
    """Refuse a time that is not aware and in UTC.

    Raises:
        InputError: saying what was got and what is allowed.
    """
    if value.utcoffset() != timedelta(0):
        raise InputError(f"The time {value!r} is not in UTC.", hint="Use utc_now().")
