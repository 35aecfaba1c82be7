"""The options and the exit codes that the measurements' command lines share."""

import argparse

import pytest

from benchmarks.command_line import at_least, between, tell
from steering.errors import InputError, LoadError


def parsed(text: str) -> tuple[int, float]:
    """A number and a share, as an option takes them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=at_least(2))
    parser.add_argument("--share", type=between(0, 1))
    found = parser.parse_args(text.split())
    return found.number, found.share


def test_numbers_are_taken_to_their_borders() -> None:
    assert parsed("--number 2 --share 0") == (2, 0.0)
    assert parsed("--number 300 --share 1.0") == (300, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--number 1", "--number: 1 is below 2"),
        ("--number 2.5", "--number: invalid number value: '2.5'"),
        ("--share 1.01", "--share: 1.01 is not from 0 to 1"),
        ("--share=-0.1", "--share: -0.1 is not from 0 to 1"),
        ("--share nan", "--share: nan is not from 0 to 1"),
        ("--share half", "--share: invalid number value: 'half'"),
    ],
)
def test_what_is_beyond_them_is_refused_with_what_is_allowed(
    text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(text)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_bad_input_ends_with_two_and_other_trouble_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell("benchmarks.some", InputError("It is wrong.", hint="Mend it.")) == 2
    assert tell("benchmarks.some", LoadError("It is broken.", hint="Wait.")) == 1
    said = capsys.readouterr().err
    assert "benchmarks.some: It is wrong." in said
    assert "Wait." in said
