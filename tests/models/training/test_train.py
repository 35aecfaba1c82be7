"""What a person types: bad input ends with a reason, a failure is told, and the help is whole."""

import signal
from collections.abc import Iterator

import pytest

from models.training.run_folder import read_progress
from models.training.settings import TrainSettings
from models.training.train import main
from tests.models.training.running import command


@pytest.fixture(autouse=True)
def sigterm_as_before() -> Iterator[None]:
    """The command takes SIGTERM for itself."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--targets", "q_proj,qproj"], "No layer of the base model is called 'qproj'"),
        (["--beta", "0"], "beta is 0.0"),
        (["--dimension", "overall"], "The dimension is 'overall'"),
        (["--parent", "nowhere", "--rank", "4"], "a model of its own"),
        (["--base", "/nowhere"], "nowhere"),
    ],
)
def test_bad_input_ends_with_a_reason(
    settings: TrainSettings, more: list[str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(command(settings, *more)) in (1, 2)
    assert words in caplog.text


def test_a_failure_is_told_to_whoever_watches(settings: TrainSettings) -> None:
    assert main(command(settings, "--min-reliability", "0.5")) == 2
    last = read_progress(settings.out)[-1]
    assert last["event"] == "failed"
    assert "reliability_unknown" in last["message"]
    assert last["hint"]


def test_a_chat_template_that_refuses_all_prompts_is_the_reason_that_is_told(settings: TrainSettings) -> None:
    """The reason was `no_text`, and the advice to use more data."""
    template = settings.out.with_name("template.jinja")
    template.write_text("{{ raise_exception('Only system prompts.') }}")
    assert main(command(settings, "--chat-template", str(template))) == 2
    last = read_progress(settings.out)[-1]
    assert (last["event"], "Only system prompts." in last["message"]) == ("failed", True)


def test_a_program_that_fails_is_told_to_whoever_watches(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("models.training.run.load_trainee", fail)
    with pytest.raises(ZeroDivisionError):
        main(command(settings))
    assert read_progress(settings.out)[-1]["event"] == "failed"


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--base", "--data", "--resume", "--targets", "--label-smoothing", "--target-nats", "--replay"):
        assert option in text
