"""What the command lines of several measurements share: options that are checked, and how trouble is told."""

import argparse
import sys
from collections.abc import Callable

from steering.errors import InputError, TillerError


def at_least(low: int) -> Callable[[str], int]:
    """Return the type of an option that is a whole number of ``low`` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        return value

    return number


def between(low: float, high: float) -> Callable[[str], float]:
    """Return the type of an option that is a number from ``low`` to ``high``, both included."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    return number


def tell(program: str, error: TillerError) -> int:
    """Print what went wrong to standard error; returns the exit code: 2 for bad input, 1 for every other trouble."""
    print(f"{program}: {error}", file=sys.stderr)
    return 2 if isinstance(error, InputError) else 1
