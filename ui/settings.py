"""Tiller's settings: one table (the fields of `Settings`) makes the options, their environment variables and the help.

An option beats its environment variable, which beats the default. Nothing wrong is ever replaced by a default.
"""

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from models.options import EngineOptions, StepPath
from models.presets import PRESET_NAMES
from steering.errors import SettingsError

ENVIRONMENT_PREFIX = "TILLER_"
TEST_PREFIX = "TILLER_TEST_"  # read by the test suite, not by the application
DEFAULT_PRESET = "demo"
ZERO_GPU_SECONDS = 50.0  # what ZeroGPU lends for one call unless asked is 60 seconds, starting up included
DATABASE_FILE = "tiller.db"
SPACES_DATA = Path("/data")
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")
_ENGINE = EngineOptions()
SEE_HELP = "`python app.py --help` explains every option and environment variable."


def _setting(
    value: Any, help_text: str, *, kind: type = str, default: str = "", secret: bool = False, **limits: Any
) -> Any:
    """A row of the table; `default` in words where `value` says little, `limits`: `choices`, or `low` and `high`."""
    about = {"help": help_text, "kind": kind, "default": default, **limits}
    return field(default=value, repr=not secret, metadata=about)


@dataclass(frozen=True)
class Settings:
    """Everything a person can set; each field is the option --like-this and the variable TILLER_LIKE_THIS.

    `preset` is None where `config` is given and never otherwise; `home` is absolute; `database_url` is never empty;
    `access_code` is None where the page is open to everybody. What is secret is left out of the repr.

    Raises:
        SettingsError: a value is not allowed; the message names the setting and what is allowed.
    """

    preset: str | None = _setting(
        None, "built-in base model and guides; excludes --config", default=DEFAULT_PRESET, choices=PRESET_NAMES
    )
    config: Path | None = _setting(  # noqa: RUF009 - a row of the table is a field
        None, "TOML file naming a base model and its guides; excludes --preset", kind=Path, default="none"
    )
    device: str = _setting(
        "auto", "where the models run; auto takes CUDA where there is a GPU", choices=("auto", "cpu", "cuda")
    )
    dtype: str = _setting(
        "auto",
        "number format of the weights; auto is bfloat16 where the hardware is fast with it, else float32",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    host: str = _setting(
        "127.0.0.1",
        "address to listen on; 0.0.0.0 is every network of this machine",
        default="127.0.0.1; on Spaces 0.0.0.0",
    )
    port: int = _setting(7860, "port to listen on", kind=int, low=1, high=65535)
    home: Path = _setting(  # noqa: RUF009 - as above
        Path("var"),
        "folder for the database, guide versions and local secrets",
        kind=Path,
        default="./var; on Spaces /data if it can be written",
    )
    database_url: str = _setting(
        "",
        "where judgements are kept: sqlite:///FILE or postgresql+psycopg://…; prefer the variable for a password",
        default=f"the SQLite file {DATABASE_FILE} in the home folder",
        secret=True,
    )
    max_new_tokens_limit: int = _setting(512, "most tokens an answer may have", kind=int, low=1, high=2**20)
    max_prompt_chars: int = _setting(20000, "most characters a prompt may have", kind=int, low=1, high=10**7)
    max_slots: int = _setting(
        _ENGINE.max_slots, "answers written at the same time, two per run", kind=int, low=2, high=2**12
    )
    queue_size: int = _setting(
        _ENGINE.max_waiting, "runs that may wait before new ones are refused", kind=int, low=1, high=10**4
    )
    time_limit: float = _setting(
        _ENGINE.time_limit_seconds,
        "seconds a run may take from when its turn has come",
        kind=float,
        default=f"{_ENGINE.time_limit_seconds:g}; on ZeroGPU {ZERO_GPU_SECONDS:g}",
        low=1,
        high=86400,
    )
    memory_fraction: float = _setting(
        _ENGINE.memory_fraction,
        "share of the memory left once the models are loaded that answers may take",
        kind=float,
        low=0.01,
        high=0.95,
    )
    zero_gpu: bool = _setting(
        False,
        "ask Hugging Face's ZeroGPU for a GPU for every run, and answer runs one by one",
        kind=bool,
        default="no; on ZeroGPU yes",
    )
    access_code: str | None = _setting(
        None,
        "password that opens the page, with any user name; prefer the variable, a command line is not secret",
        default="none, the page is open",
        secret=True,
    )
    annotator_secret: str | None = _setting(
        None,
        "text of 32 characters or more from which annotators' keys are made; prefer the variable",
        default="a random one, kept in the home folder",
        secret=True,
    )
    snapshot_repo: str | None = _setting(
        None,
        "private dataset repository on the Hugging Face Hub, OWNER/NAME, that gets a copy of all judgements every five "
        "minutes and fills an empty database; needs HF_TOKEN",
        default="none",
    )
    keep_prompts_days: int = _setting(
        0, "days after which what was typed on Steer is removed; 0 keeps it for good", kind=int, low=0, high=365_000
    )
    root_path: str = _setting("", "path under which a reverse proxy serves the page, such as /tiller", default="none")
    log_level: str = _setting("info", "least important messages to log", choices=("debug", "info", "warning", "error"))
    open_browser: bool = _setting(False, "open the page in this machine's browser", kind=bool, default="no")

    def __post_init__(self) -> None:
        if self.preset is not None and self.config is not None:
            raise SettingsError(
                f"Both a preset ({self.preset}) and a config file ({self.config}) are given; only one can be used.",
                hint="Leave out --preset or --config, and look at TILLER_PRESET and TILLER_CONFIG too.",
            )
        if self.preset is None and self.config is None:
            object.__setattr__(self, "preset", DEFAULT_PRESET)
        try:
            object.__setattr__(self, "home", Path(self.home).expanduser().absolute())
        except (OSError, RuntimeError) as error:
            raise _unusable_home(self.home, error) from error
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{(self.home / DATABASE_FILE).as_posix()}")
        for setting in fields(self):
            _check_limits(setting, getattr(self, setting.name))
        _check_texts(self)


def parse_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """The settings given by the options `argv` (without the program's name) and the variables of `environ`.

    Raises:
        SettingsError: an unknown option or TILLER_ variable, or a value that is not allowed.
        SystemExit: --help was asked for, after it was printed (code 0).
    """
    known = {_variable(setting.name): setting for setting in fields(Settings)}
    given = _environment_defaults(environ)
    for variable, raw in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise SettingsError(f"There is no environment variable {variable}.", hint=hint + SEE_HELP)
        given[known[variable].name] = _convert(known[variable], raw, source=variable)
    for name, raw in vars(_parser().parse_args(argv)).items():
        setting = known[_variable(name)]
        given[name] = raw if isinstance(raw, bool) else _convert(setting, raw, source=_option(setting.name))
    return Settings(**given)


def _environment_defaults(environ: Mapping[str, str]) -> dict[str, Any]:
    """Defaults that differ on Hugging Face Spaces, which sets SPACE_ID and, with ZeroGPU, SPACES_ZERO_GPU."""
    defaults: dict[str, Any] = {}
    if environ.get("SPACES_ZERO_GPU", "").lower() in TRUE_WORDS:
        defaults |= {"zero_gpu": True, "time_limit": ZERO_GPU_SECONDS}
    if "SPACE_ID" in environ:
        defaults["host"] = "0.0.0.0"
        if SPACES_DATA.is_dir() and os.access(SPACES_DATA, os.W_OK):
            defaults["home"] = SPACES_DATA
    return defaults


def engine_options(settings: Settings) -> EngineOptions:
    """How the engine is to be run for the page.

    On ZeroGPU every run is answered in a worker process that exists only for it: there is no thread of the engine's,
    nothing is remembered, and no step is recorded for steps that never come.
    """
    options = EngineOptions(
        max_slots=settings.max_slots,
        max_waiting=settings.queue_size,
        time_limit_seconds=settings.time_limit,
        memory_fraction=settings.memory_fraction,
    )
    if settings.zero_gpu:
        return replace(options, in_background=False, remembers=False, path=StepPath.EAGER)
    return options


class _Parser(argparse.ArgumentParser):
    """Reports a bad command line as a SettingsError, like every other bad setting."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"The command line cannot be used: {message}.", hint=SEE_HELP)


def _parser() -> _Parser:
    parser = _Parser(
        prog="app.py",
        description="Tiller: preference steering. Serves the page on which sliders steer a language model.",
        epilog="Each option can also be set by the environment variable in brackets; the option wins.",
        allow_abbrev=False,
    )
    for setting in fields(Settings):
        facts = setting.metadata
        default = facts["default"] or setting.default
        how: dict[str, Any] = {"help": f"{facts['help']} [{_variable(setting.name)}; default: {default}]"}
        if facts["kind"] is bool:
            how["action"] = argparse.BooleanOptionalAction
        elif "choices" in facts:
            how["metavar"] = "|".join(facts["choices"])
        else:
            how["metavar"] = {int: "N", float: "NUMBER", Path: "PATH"}.get(facts["kind"], "TEXT")
        parser.add_argument(_option(setting.name), dest=setting.name, default=argparse.SUPPRESS, **how)
    return parser


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _convert(setting: "Field[Any]", raw: str, *, source: str) -> Any:
    """What a person wrote, as the field's kind. `source` is the option or variable, for the message."""
    kind = setting.metadata["kind"]
    if not raw.strip():
        # An empty variable is usually a secret or a template that did not arrive: never take it for "no access code".
        raise SettingsError(f"{source} is empty.", hint=f"Give it a value or leave {source} out.")
    if kind in (int, float):
        try:
            return kind(raw)
        except ValueError:
            words = "a whole number" if kind is int else "a number"
            raise SettingsError(f"{source} is {raw!r}; it must be {words}.", hint=SEE_HELP) from None
    if kind is bool:
        if raw.lower() not in TRUE_WORDS + FALSE_WORDS:
            words = ", ".join(TRUE_WORDS + FALSE_WORDS)
            raise SettingsError(f"{source} is {raw!r}; it must be one of {words}.", hint=SEE_HELP)
        return raw.lower() in TRUE_WORDS
    return kind(raw)


def _check_limits(setting: "Field[Any]", value: Any) -> None:
    facts = setting.metadata
    name = f"{_option(setting.name)} ({_variable(setting.name)})"
    if "choices" in facts and value is not None and value not in facts["choices"]:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(facts['choices'])}.", hint=SEE_HELP)
    if "low" in facts and not facts["low"] <= value <= facts["high"]:
        raise SettingsError(
            f"{name} is {value}; it must be from {facts['low']} to {facts['high']}.",
            hint=f"Change {_option(setting.name)}.",
        )


def _check_texts(settings: Settings) -> None:
    """Host, root path and home; the config file and the database URL are checked by the rooms that read them.

    Raises:
        SettingsError: a text cannot be what it is for.
    """
    if not settings.host or any(character in settings.host for character in "/ \t"):
        raise SettingsError(
            f"--host (TILLER_HOST) is {settings.host!r}; it must be a host name or an IP address.",
            hint="Leave out http:// and the port; --port is an option of its own.",
        )
    if settings.root_path and not settings.root_path.startswith(("/", "http://", "https://")):
        raise SettingsError(
            f"--root-path (TILLER_ROOT_PATH) is {settings.root_path!r}; it must start with / or be a full URL.",
            hint="Give the path the visitors' browsers see, such as /tiller.",
        )
    try:
        is_other = settings.home.exists() and not settings.home.is_dir()
    except OSError as error:
        raise _unusable_home(settings.home, error) from error
    if is_other:
        raise SettingsError(f"--home (TILLER_HOME) is {settings.home}, which is not a folder.", hint="Name a folder.")


def _unusable_home(home: Path, error: Exception) -> SettingsError:
    return SettingsError(f"--home (TILLER_HOME) is {home}, which cannot be used: {error}.", hint="Name another folder.")
