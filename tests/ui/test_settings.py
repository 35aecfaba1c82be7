"""Settings: one table gives options, variables, defaults and help, and nothing wrong is replaced by a default."""

import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from steering.errors import SettingsError
from tests.ui.pages import free_port
from ui import settings as settings_module
from ui.settings import Settings, parse_settings

ROOT = Path(__file__).parent.parent.parent
# One valid value that differs from the default, as it would be typed, for every setting.
EXAMPLES = {
    "preset": "tulu2-7b",
    "config": "mine.toml",
    "device": "cuda",
    "dtype": "bfloat16",
    "host": "0.0.0.0",
    "port": "8000",
    "home": "/srv/tiller",
    "database_url": "postgresql+psycopg://localhost/tiller",
    "max_new_tokens_limit": "64",
    "max_prompt_chars": "1000",
    "queue_size": "3",
    "max_slots": "8",
    "time_limit": "12.5",
    "memory_fraction": "0.5",
    "zero_gpu": "yes",
    "access_code": "open sesame",
    "annotator_secret": "x" * 32,
    "snapshot_repo": "somebody/judgements",
    "keep_prompts_days": "30",
    "root_path": "/tiller",
    "log_level": "debug",
    "open_browser": "yes",
}
NAMES = [setting.name for setting in fields(Settings)]


def run_app(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """app.py in a process of its own, without the settings of whoever runs the tests."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TILLER_")} | variables
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)


def test_without_options_the_page_is_local_and_runs_the_embedded_model() -> None:
    settings = parse_settings([], {})
    assert (settings.preset, settings.config, settings.host, settings.port) == ("demo", None, "127.0.0.1", 7860)
    assert settings.home == Path.cwd() / "var"
    assert settings.database_url == f"sqlite:///{Path.cwd()}/var/tiller.db"
    assert settings.access_code is None


@pytest.mark.parametrize("name", NAMES)
def test_the_option_and_the_variable_of_a_setting_mean_the_same(name: str) -> None:
    option, variable = "--" + name.replace("_", "-"), "TILLER_" + name.upper()
    typed = [option] if name in ("open_browser", "zero_gpu") else [option, EXAMPLES[name]]
    by_option, by_variable = parse_settings(typed, {}), parse_settings([], {variable: EXAMPLES[name]})
    assert getattr(by_option, name) == getattr(by_variable, name)
    assert getattr(by_option, name) != getattr(parse_settings([], {}), name)


def test_an_option_beats_its_variable() -> None:
    assert parse_settings(["--port", "8001"], {"TILLER_PORT": "8002"}).port == 8001
    assert parse_settings(["--no-open-browser"], {"TILLER_OPEN_BROWSER": "1"}).open_browser is False


def test_the_database_lies_in_the_home_folder_unless_it_is_given(tmp_path: Path) -> None:
    assert parse_settings(["--home", str(tmp_path)], {}).database_url == f"sqlite:///{tmp_path}/tiller.db"
    given = parse_settings(["--home", str(tmp_path), "--database-url", "sqlite:///other.db"], {})
    assert given.database_url == "sqlite:///other.db"


def test_a_config_file_takes_the_place_of_the_preset() -> None:
    settings = parse_settings(["--config", "mine.toml"], {})
    assert (settings.preset, settings.config) == (None, Path("mine.toml"))


@pytest.mark.parametrize(
    ("argv", "environ"),
    [
        (["--config", "mine.toml", "--preset", "demo"], {}),
        (["--config", "mine.toml"], {"TILLER_PRESET": "demo"}),
        ([], {"TILLER_PRESET": "demo", "TILLER_CONFIG": "mine.toml"}),
    ],
)
def test_a_preset_and_a_config_file_together_are_refused(argv: list[str], environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="only one can be used"):
        parse_settings(argv, environ)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prot", "8000"], "unrecognized arguments: --prot"),
        (["--por", "8000"], "unrecognized arguments: --por"),
        (["8000"], "unrecognized arguments: 8000"),
        (["--port"], "expected one argument"),
        (["--port", "abc"], "--port is 'abc'; it must be a whole number"),
        (["--port", "80.5"], "whole number"),
        (["--port", "0"], "from 1 to 65535"),
        (["--port", "65536"], "from 1 to 65535"),
        (["--max-new-tokens-limit", "0"], "from 1 to"),
        (["--max-prompt-chars", "-1"], "from 1 to"),
        (["--queue-size", "0"], "from 1 to"),
        (["--max-slots", "1"], "from 2 to"),
        (["--time-limit", "0.5"], "from 1 to 86400"),
        (["--time-limit", "nan"], "from 1 to 86400"),
        (["--time-limit", "inf"], "from 1 to 86400"),
        (["--time-limit", "long"], "--time-limit is 'long'; it must be a number"),
        (["--memory-fraction", "1"], "from 0.01 to 0.95"),
        (["--device", "tpu"], "one of auto, cpu, cuda"),
        (["--dtype", "int8"], "one of auto, float32, bfloat16, float16"),
        (["--preset", "nope"], "one of demo, tulu2-7b"),
        (["--log-level", "loud"], "one of debug, info, warning, error"),
        (["--host", "http://localhost"], "host name or an IP address"),
        (["--root-path", "tiller"], "start with /"),
        (["--home", __file__], "not a folder"),
        (["--home", ""], "--home is empty"),
        (["--share"], "unrecognized arguments: --share"),
    ],
)
def test_a_bad_command_line_says_what_was_got_and_what_is_allowed(argv: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(argv, {})
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TILLER_PROT": "8000"}, "no environment variable TILLER_PROT"),
        ({"TILLER_PORT": "abc"}, "TILLER_PORT is 'abc'"),
        ({"TILLER_PORT": "0"}, "TILLER_PORT"),
        ({"TILLER_ACCESS_CODE": ""}, "TILLER_ACCESS_CODE is empty"),
        ({"TILLER_ACCESS_CODE": "  "}, "TILLER_ACCESS_CODE is empty"),
        ({"TILLER_OPEN_BROWSER": "maybe"}, "one of 1, true, yes, on, 0, false, no, off"),
        ({"TILLER_DEVICE": "tpu"}, "TILLER_DEVICE"),
    ],
)
def test_a_bad_variable_is_never_replaced_by_the_default(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings([], environ)
    assert message in caught.value.message


def test_a_mistyped_variable_gets_the_nearest_name_as_a_hint() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings([], {"TILLER_DATABASE": "sqlite:///x.db"})
    assert "TILLER_DATABASE_URL" in caught.value.hint


def test_other_programs_variables_and_those_of_the_tests_are_left_alone() -> None:
    environ = {"GRADIO_SERVER_PORT": "9000", "TILLER_TEST_DATABASE_URL": "sqlite:///x.db", "PATH": "/bin"}
    assert parse_settings([], environ) == parse_settings([], {})


def test_secrets_are_neither_in_the_repr_nor_in_an_error() -> None:
    settings = parse_settings(
        [], {"TILLER_ACCESS_CODE": "hush", "TILLER_DATABASE_URL": "postgresql+psycopg://u:hush@h/d"}
    )
    assert (settings.access_code, "hush" in settings.database_url) == ("hush", True)
    assert "hush" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        parse_settings(["--database-url", "mysql://u:hush@h/d", "--port", "x"], {"TILLER_ACCESS_CODE": "hush"})
    assert "hush" not in str(caught.value)


def test_on_spaces_the_page_listens_everywhere_and_keeps_its_data_where_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "SPACES_DATA", tmp_path)
    settings = parse_settings([], {"SPACE_ID": "someone/tiller"})
    assert (settings.host, settings.home) == ("0.0.0.0", tmp_path)
    chosen = parse_settings(["--host", "127.0.0.1"], {"SPACE_ID": "someone/tiller", "TILLER_HOME": "/srv"})
    assert (chosen.host, chosen.home) == ("127.0.0.1", Path("/srv"))
    monkeypatch.setattr(settings_module, "SPACES_DATA", tmp_path / "missing")
    assert parse_settings([], {"SPACE_ID": "someone/tiller"}).home == Path.cwd() / "var"


def test_help_names_every_option_its_variable_and_its_choices() -> None:
    done = run_app("--help")
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    for setting in fields(Settings):
        assert f"--{setting.name.replace('_', '-')}" in text
        assert f"[TILLER_{setting.name.upper()}; default: " in text
        assert " ".join(setting.metadata["help"].split()) in text
        assert all(choice in text for choice in setting.metadata.get("choices", ()))


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--prot", "1"], {}),
        (["--port", "x"], {}),
        ([], {"TILLER_PROT": "1"}),
        ([], {"TILLER_QUEUE_SIZE": "many"}),
        (["--config", "no-such-file.toml"], {}),
        ([], {"TILLER_DATABASE_URL": "mysql://user:hush@localhost/tiller"}),
    ],
)
def test_bad_input_ends_the_application_with_one_sentence_and_code_2(
    arguments: list[str], variables: dict[str, str]
) -> None:
    done = run_app(*arguments, **variables)
    assert done.returncode == 2
    assert done.stderr.startswith("tiller: ")
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_a_database_that_cannot_be_opened_ends_the_application_with_one_sentence_and_code_1(tmp_path: Path) -> None:
    (tmp_path / "tiller.db").write_text("this is not a database, only text that is long enough to be read as one" * 50)
    done = run_app("--home", str(tmp_path), "--log-level", "error")
    assert done.returncode == 1
    assert done.stderr.startswith("tiller: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("home", ["~nosuchuser/tiller", "x" * 300])
def test_a_home_that_no_system_could_have_is_refused(home: str) -> None:
    with pytest.raises(SettingsError, match="--home"):
        parse_settings(["--home", home], {})


def test_a_served_page_that_is_told_to_end_ends_tidily(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TILLER_")}
    options = ["--home", str(tmp_path), "--port", str(free_port())]
    app = subprocess.Popen(
        [sys.executable, "app.py", *options], cwd=ROOT, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert app.stderr is not None
    try:
        said = b""
        while b"http://" not in said:
            line = app.stderr.readline()
            assert line, said
            said += line
        app.send_signal(signal.SIGTERM)
        assert app.wait(30) == 0
        assert b"tiller: stopped." in app.stderr.read()
    finally:
        app.kill()
        app.stderr.close()
