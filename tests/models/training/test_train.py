"""What a person types: bad input ends with a reason, a failure is told, and the help is whole."""

import signal
from collections.abc import Iterator

import pytest

from models.training.processes import Cancelled, StopFlag
from models.training.run import train
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


@pytest.mark.parametrize("what", ["finished", "not_asked", "other_settings", "other_data", "no_run"])
def test_a_start_that_is_refused_says_nothing_in_the_folder_of_another_run(settings: TrainSettings, what: str) -> None:
    """It said `failed` there, also of a guide that was finished."""
    if what == "no_run":
        settings.out.mkdir()
        (settings.out / "mine.txt").write_text("mine")
    else:
        with pytest.raises(Cancelled):
            train(settings, "", stop=StopFlag(is_set=True))
    if what == "finished":
        (settings.out / "guide").mkdir()
    if what == "other_data":
        settings.data[0].write_text(settings.data[0].read_text() * 2)
    more = {"other_settings": ["--resume", "--beta", "0.2"], "other_data": ["--resume"]}.get(what, [])
    before = {path.name: path.is_dir() or path.read_bytes() for path in settings.out.iterdir()}
    assert main(command(settings, *more)) == 2
    assert {path.name: path.is_dir() or path.read_bytes() for path in settings.out.iterdir()} == before


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
